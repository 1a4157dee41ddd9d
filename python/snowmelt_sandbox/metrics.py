"""Counters, the request log and the query log behind ``/sandbox/*``."""

from __future__ import annotations

import collections
import threading
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOGIN_KINDS = ("password", "keypair", "externalbrowser", "id_token", "pat", "oauth", "mfa", "okta", "wif")
COUNTERS = (
    "login_failures", "browser_launches", "sso_pages", "queries", "chunks", "renewals", "heartbeats",
    "sessions_opened", "sessions_closed", "aborts", "statements_running", "peak_parallel_statements", "async_polls",
)  # fmt: skip


class Metrics:
    """Thread-safe: statements count from their own threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logins = dict.fromkeys(LOGIN_KINDS, 0)
        self._counts = dict.fromkeys(COUNTERS, 0)
        self._requests: collections.deque[dict[str, Any]] = collections.deque(maxlen=20_000)

    def login(self, kind: str) -> None:
        with self._lock:
            self._logins[kind] += 1

    def add(self, name: str, amount: int = 1) -> None:
        with self._lock:
            self._counts[name] += amount

    def statement_started(self) -> None:
        with self._lock:
            self._counts["statements_running"] += 1
            running = self._counts["statements_running"]
            self._counts["peak_parallel_statements"] = max(running, self._counts["peak_parallel_statements"])

    def statement_ended(self) -> None:
        self.add("statements_running", -1)

    def request(self, method: str, path: str, query: str, status: int, seconds: float) -> None:
        entry = {"time": round(time.time(), 3), "method": method, "path": path, "query": query, "status": status,
                 "seconds": round(seconds, 4)}  # fmt: skip
        self._requests.append(entry)

    def requests(self) -> list[dict[str, Any]]:
        return list(self._requests)

    def stats(self, sessions_open: int) -> dict[str, Any]:
        with self._lock:
            return {"logins": dict(self._logins), **self._counts, "sessions_open": sessions_open}


class RequestLog:
    """Notes each request; never a header or a body, where the secrets are. Signatures of chunk URLs are left out."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/sandbox/"):
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            path = scope["path"]
            hidden = path.startswith(("/results/", "/sso", "/console/"))
            query = "" if hidden else scope["query_string"].decode()
            self._metrics.request(scope["method"], path, query, status, time.monotonic() - started)
