"""Faults on request: armed over HTTP, fired on the requests they match.

One ASGI layer around the whole application. What can be done to any request (a status, a delay, a reset, a slow or cut
body, a killed session) is done here; what needs the content (short chunks, wrong row counts) is left in the scope for
the handler.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from starlette.types import Message, Receive, Scope, Send

KINDS = {
    "chunk", "query", "login", "poll", "token", "heartbeat", "close", "abort", "authenticator", "monitoring",
    "telemetry", "any",
}  # fmt: skip
ACTIONS = {
    "status", "reset", "short", "truncate", "slow", "delay", "hold", "expire_url", "wrong_row_count", "corrupt",
    "kill_session", "expire_session", "expire_master", "refuse_id_token", "error",
}  # fmt: skip
_PATHS = (
    (re.compile(r"^/session/v1/login-request$"), "login"),
    (re.compile(r"^/session/authenticator-request$"), "authenticator"),
    (re.compile(r"^/session/token-request$"), "token"),
    (re.compile(r"^/session/heartbeat$"), "heartbeat"),
    (re.compile(r"^/session$"), "close"),
    (re.compile(r"^/queries/v1/query-request$"), "query"),
    (re.compile(r"/abort-request$"), "abort"),
    (re.compile(r"^/queries/[^/]+/result$"), "poll"),
    (re.compile(r"^/monitoring/queries/"), "monitoring"),
    (re.compile(r"^/telemetry/"), "telemetry"),
    (re.compile(r"^/results/[^/]+/chunk_(\d+)$"), "chunk"),
)


@dataclass
class Fault:
    """One armed fault. ``after`` lets that many matches pass first; ``times`` -1 means for ever.

    ``hold`` keeps a request at the door until the faults are cleared or its client goes away.
    """

    action: str
    match: str = "any"
    chunk: int | str = "any"
    sql: str | None = None
    times: int = 1
    after: int = 0
    code: int | str | None = None
    sqlstate: str | None = None
    message: str | None = None
    after_bytes: int | None = None
    bytes_per_second: int = 65_536
    seconds: float = 1.0
    rows: int = 1
    eos: bool = True
    layer: str = "gzip"
    seen: int = 0
    fired: int = 0

    @classmethod
    def of(cls, data: dict[str, Any]) -> Fault:
        unknown = set(data) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"unknown fault keys: {', '.join(sorted(unknown))}")
        fault = cls(**data)
        if fault.action not in ACTIONS:
            raise ValueError(f"unknown action {fault.action!r}; known: {', '.join(sorted(ACTIONS))}")
        if fault.match not in KINDS:
            raise ValueError(f"unknown match {fault.match!r}; known: {', '.join(sorted(KINDS))}")
        if fault.sql is not None:
            re.compile(fault.sql)
        return fault

    def wants(self, kind: str, chunk: int | None, text: str) -> bool:
        if self.match not in (kind, "any") or (self.chunk != "any" and chunk is not None and self.chunk != chunk):
            return False
        return self.sql is None or re.search(self.sql, text, re.IGNORECASE) is not None


class FaultStore:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def arm(self, data: Any) -> list[dict[str, Any]]:
        faults = [Fault.of(d) for d in (data if isinstance(data, list) else [data])]
        with self._lock:
            self._faults += faults
        return self.describe()

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def describe(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(f) for f in self._faults]

    def holds(self, fault: Fault) -> bool:
        with self._lock:
            return any(armed is fault for armed in self._faults)

    @property
    def armed(self) -> bool:
        return bool(self._faults)

    def take(self, kind: str, chunk: int | None, text: str) -> Fault | None:
        """The first armed fault that fires on this request."""
        with self._lock:
            for fault in self._faults:
                if fault.fired == fault.times or not fault.wants(kind, chunk, text):
                    continue
                fault.seen += 1
                if fault.seen > fault.after:
                    fault.fired += 1
                    return fault
        return None


def classify(path: str) -> tuple[str, int | None]:
    """The kind of request that a path is, and the chunk's index."""
    for pattern, kind in _PATHS:
        if match := pattern.search(path):
            return kind, int(match[1]) if pattern.groups else None
    return "other", None


Disturb = Callable[[Fault, Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class FaultLayer:
    """``disturb`` carries out the actions on sessions, which this module knows nothing about."""

    def __init__(self, app: App, store: FaultStore, disturb: Disturb) -> None:
        self._app = app
        self._store = store
        self._disturb = disturb

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._store.armed:
            await self._app(scope, receive, send)
            return
        kind, chunk = classify(scope["path"])
        if kind == "other":
            await self._app(scope, receive, send)
            return
        body = await _read_all(receive)
        fault = self._store.take(kind, chunk, body.decode("utf-8", "replace"))
        if fault is not None and fault.action == "hold" and not await self._hold(fault, receive):
            return
        receive = _replay(body, receive)
        if fault is None:
            await self._app(scope, receive, send)
            return
        scope["sandbox.fault"] = fault
        await self._fire(fault, scope, receive, send)

    async def _hold(self, fault: Fault, receive: Receive) -> bool:
        """Whether the client is still there at the end. Its body has been read: the next message says that it has gone."""
        gone = asyncio.ensure_future(receive())
        while self._store.holds(fault) and not gone.done():
            await asyncio.wait([gone], timeout=0.01)
        return not gone.done() and gone.cancel()

    async def _fire(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        action = fault.action
        if action == "status":
            await _plain(send, int(fault.code or 503), b"armed fault")
        elif action == "reset" and fault.after_bytes is None:
            _reset(scope)
        elif action in {"reset", "slow", "truncate"}:
            await self._shape(fault, scope, receive, send)
        else:
            if action == "delay":
                await asyncio.sleep(fault.seconds)
            await self._disturb(fault, scope)
            await self._app(scope, receive, send)

    async def _shape(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the application, then gives its body out in another way."""
        start, body = await _collect(self._app, scope, receive)
        if fault.action == "truncate":
            body = body[: fault.after_bytes if fault.after_bytes is not None else len(body) // 2]
            # The length agrees with the cut body: only the content tells that something is missing.
            start["headers"] = [h for h in start["headers"] if h[0].lower() != b"content-length"]
            start["headers"].append((b"content-length", str(len(body)).encode()))
            await send(start)
            await send({"type": "http.response.body", "body": body})
        elif fault.action == "reset":
            await send(start)
            await send({"type": "http.response.body", "body": body[: fault.after_bytes], "more_body": True})
            # Lets what was sent reach the client before the reset throws away what is still queued.
            await asyncio.sleep(0.05)
            _reset(scope)
        else:
            await send(start)
            step = max(1, fault.bytes_per_second // 10)
            for offset in range(0, len(body), step):
                piece = body[offset : offset + step]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await asyncio.sleep(len(piece) / fault.bytes_per_second)
            await send({"type": "http.response.body", "body": b""})


async def _read_all(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _collect(app: App, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    return messages[0], b"".join(m.get("body", b"") for m in messages[1:])


async def _plain(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _reset(scope: Scope) -> None:
    """A TCP reset, as from a crashed peer or a firewall: close with a linger of zero."""
    transport = scope["sandbox.transport"]
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
