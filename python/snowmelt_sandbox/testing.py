"""A sandbox for tests: started as its own process, stopped with the block."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE = 300  # seconds; only a failure takes them, on however busy a machine


def until(condition: Callable[[], object]) -> None:
    """Waits for what has to happen, not for time to pass."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Sandbox:
    """``with Sandbox("--data", folder) as sandbox: ...``; every argument goes to the command line as text."""

    def __init__(self, *options: str | Path | float) -> None:
        self._options = [str(o) for o in options]
        self._process: subprocess.Popen[str] | None = None
        self.ready: dict[str, Any] = {}

    def start(self) -> Self:
        command = [sys.executable, "-m", "snowmelt_sandbox", "--port", "0", "--exit-with-parent", *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"snowmelt-sandbox ended with {self._process.wait()} before it was ready")
        self.ready = json.loads(line)
        return self

    def stop(self) -> int:
        """Ends the process; its exit code."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.terminate()
        try:
            code = process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        assert process.stdout is not None
        process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        return self.ready["url"]

    @property
    def host(self) -> str:
        return self.ready["host"]

    @property
    def port(self) -> int:
        return self.ready["port"]

    @property
    def connection_keys(self) -> dict[str, Any]:
        """The [snowflake] keys that reach this sandbox with its default user and password."""
        return {key: self.ready[key] for key in ("account", "user", "password", "host", "port", "protocol")}

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """Any JSON request to this sandbox."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **(headers or {})})
        request.method = method
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=PATIENCE) as response:
            return json.loads(response.read() or b"null")

    def stats(self) -> dict[str, Any]:
        return self.request("GET", "/sandbox/stats")

    def requests(self) -> list[dict[str, Any]]:
        return self.request("GET", "/sandbox/requests")

    def queries(self) -> list[dict[str, Any]]:
        return self.request("GET", "/sandbox/queries")

    def fault(self, match: str, action: str, **more: Any) -> None:
        """Arms one fault: ``sandbox.fault("chunk", "short", chunk=2, rows=1)``."""
        self.request("POST", "/sandbox/faults", {"match": match, "action": action, **more})

    def faults(self) -> list[dict[str, Any]]:
        return self.request("GET", "/sandbox/faults")

    def clear_faults(self) -> None:
        self.request("DELETE", "/sandbox/faults")

    def kill_sessions(self) -> None:
        self.request("POST", "/sandbox/sessions/kill")

    def expire_sessions(self) -> None:
        self.request("POST", "/sandbox/sessions/expire")

    def expire_masters(self) -> None:
        self.request("POST", "/sandbox/masters/expire")

    def revoke_id_tokens(self) -> None:
        self.request("POST", "/sandbox/id-tokens/revoke")

    def expire_urls(self) -> None:
        self.request("POST", "/sandbox/urls/expire")
