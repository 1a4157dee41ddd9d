"""The command line, and the life of the process."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from snowmelt_sandbox import __version__
from snowmelt_sandbox.server import SandboxServer
from snowmelt_sandbox.settings import Credentials, Lifetimes, ResultShape, Settings


def main(arguments: list[str] | None = None) -> int:
    settings, options = _read(arguments)
    logging.basicConfig(stream=sys.stderr, level=options.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as error:
        print(f"snowmelt-sandbox: cannot listen on {settings.host}:{settings.port}: {error}", file=sys.stderr)
        return 1
    sandbox = SandboxServer(settings)
    config = uvicorn.Config(
        sandbox.app, http=_Protocol, ws="none", lifespan="off", log_config=None, access_log=False,
        timeout_keep_alive=120, timeout_graceful_shutdown=1, backlog=512,
    )  # fmt: skip
    server = _Server(config, sandbox, options.exit_with_parent)
    asyncio.run(server.serve(sockets=[listener]))
    # Statement threads may still be inside DuckDB or a wait; nothing of theirs outlives the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class _Protocol(H11Protocol):
    """Gives the application its transport: a fault that resets the connection needs it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        inner = self.app

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scope["sandbox.transport"] = transport
            await inner(scope, receive, send)

        self.app = app


class _Server(uvicorn.Server):
    """Says on stdout when it is ready; ends on the first signal, without waiting for slow readers."""

    def __init__(self, config: uvicorn.Config, sandbox: SandboxServer, exit_with_parent: bool) -> None:
        super().__init__(config)
        self._sandbox = sandbox
        # Before the line that says ready: whoever reads it may end at once.
        self._parent = os.getppid() if exit_with_parent else None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self._sandbox.stop()
        self.should_exit = True
        self.force_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        assert sockets
        host, port = sockets[0].getsockname()[:2]
        settings = self._sandbox.settings
        accepted = settings.credentials
        name = f"[{host}]" if ":" in host else host
        ready = {
            "ready": True, "host": host, "port": port, "url": f"http://{name}:{port}", "protocol": "http",
            "account": settings.account, "user": accepted.user, "password": accepted.password, "pat": accepted.pat,
            "oauth_token": accepted.oauth_token, "passcode": accepted.passcode, "pid": os.getpid(),
            "tables": [t.full_name for t in self._sandbox.directory], "version": __version__,
        }  # fmt: skip
        print(json.dumps(ready), flush=True)
        if self._parent is not None:
            self._watcher = asyncio.create_task(self._watch_parent(self._parent))

    async def _watch_parent(self, parent: int) -> None:
        while os.getppid() == parent:
            await asyncio.sleep(0.5)
        self._stop()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's delay off only for sockets that name their protocol: 40 ms an answer otherwise.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    return listener


def _loopback(text: str) -> str:
    host = "127.0.0.1" if text == "localhost" else text
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text} is not a loopback address; the sandbox has no real protection")


def _rows_list(text: str) -> tuple[int, ...]:
    rows = tuple(int(part) for part in text.split(","))
    if not rows or min(rows) < 1:
        raise argparse.ArgumentTypeError("wants positive numbers, as in 100,200,400")
    return rows


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a directory")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="snowmelt-sandbox",
        description="A local server that speaks Snowflake's protocol and serves DIR/DATABASE/SCHEMA/TABLE.parquet.",
        epilog="example: snowmelt-sandbox --port 0 --data ./data --session-validity 2",
    )
    add = parser.add_argument
    add("--version", action="version", version=__version__)
    add("--port", type=int, default=0, help="0 chooses a free one (default)")
    add("--host", type=_loopback, default="127.0.0.1", help="a loopback address")
    add("--data", type=_folder, metavar="DIR", help="serves each DIR/DATABASE/SCHEMA/TABLE.parquet")
    add("--account", default="sandbox")
    add("--log-level", choices=["debug", "info", "warning", "error"], default="warning", help="on stderr")
    add("--exit-with-parent", action="store_true", help="end when the process that started it is gone")
    group = parser.add_argument_group("logins")
    group.add_argument("--user", default=Credentials.user)
    group.add_argument("--password", default=Credentials.password)
    group.add_argument("--any-credentials", action="store_true", help="accept every login")
    group.add_argument("--pat", default=Credentials.pat, metavar="TOKEN")
    group.add_argument("--oauth-token", default=Credentials.oauth_token, metavar="TOKEN")
    group.add_argument("--public-key", type=Path, metavar="PEM", help="check key-pair logins against this key")
    group.add_argument("--mfa-passcode", default=Credentials.passcode, metavar="CODE")
    group.add_argument("--deny-mfa", action="store_true", help="refuse every second factor")
    group.add_argument("--no-id-token", action="store_true", help="as an account with ALLOW_ID_TOKEN=false")
    group.add_argument("--idp-delay", type=float, default=0.0, metavar="SECONDS", help="time a sign-in takes")
    group.add_argument("--sso-auto", action="store_true", help="the SSO page confirms itself")
    group.add_argument("--session-validity", type=float, default=Lifetimes.session, metavar="SECONDS")
    group.add_argument("--master-validity", type=float, default=Lifetimes.master, metavar="SECONDS")
    group.add_argument("--id-token-validity", type=float, default=Lifetimes.id_token, metavar="SECONDS")
    group = parser.add_argument_group("queries")
    group.add_argument("--async-after", type=float, default=45.0, metavar="SECONDS", help="hold requests so long, then 333333")
    group.add_argument("--deny-metadata", action="store_true", help="SHOW, DESCRIBE, INFORMATION_SCHEMA, EXPLAIN fail")
    group.add_argument("--rows-per-resultset", type=int, default=0, metavar="N", help="the account's default of that parameter")
    group = parser.add_argument_group("results")
    group.add_argument("--no-inline", action="store_true", help="all rows in chunks")
    group.add_argument("--inline-bytes", type=int, default=ResultShape.inline_bytes, metavar="N")
    group.add_argument("--inline-rows", type=int, metavar="N")
    group.add_argument("--chunk-max-bytes", type=int, default=ResultShape.chunk_max_bytes, metavar="N")
    group.add_argument("--chunk-max-rows", type=int, default=ResultShape.chunk_max_rows, metavar="N")
    group.add_argument("--chunk-rows", type=_rows_list, default=(), metavar="LIST", help="rows of each chunk; the last repeats")
    group.add_argument("--batch-rows", type=int, default=ResultShape.batch_rows, metavar="N", help="0: one batch a chunk")
    group.add_argument("--int-width", choices=["result", "chunk"], default="result", help="NUMBER carriers chosen per")
    group.add_argument("--timestamp-struct-from-scale", type=int, choices=range(11), default=8, metavar="SCALE")
    group.add_argument("--qrmk", action="store_true", help="give qrmk instead of chunkHeaders")
    group.add_argument("--no-content-encoding", action="store_true", help="gzip bodies without the header")
    group.add_argument("--url-validity", type=float, default=Lifetimes.url, metavar="SECONDS")
    return parser


def _read(arguments: list[str] | None) -> tuple[Settings, argparse.Namespace]:
    o = _parser().parse_args(arguments)
    credentials = Credentials(
        o.user, o.password, o.pat, o.oauth_token, o.mfa_passcode, o.deny_mfa, o.public_key, o.any_credentials
    )
    shape = ResultShape(
        not o.no_inline, o.inline_bytes, o.inline_rows, o.chunk_max_bytes, o.chunk_max_rows, o.chunk_rows, o.batch_rows,
        o.int_width, o.timestamp_struct_from_scale, o.qrmk, not o.no_content_encoding,
    )  # fmt: skip
    lifetimes = Lifetimes(o.session_validity, o.master_validity, o.id_token_validity, o.url_validity)
    settings = Settings(
        o.host, o.port, o.data, o.account, credentials, lifetimes, shape, not o.no_id_token, o.idp_delay, o.sso_auto,
        o.async_after, o.deny_metadata, o.rows_per_resultset,
    )  # fmt: skip
    return settings, o
