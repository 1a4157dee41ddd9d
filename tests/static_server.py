"""A second server of Snowflake's protocol, which shares no code with the sandbox.

It knows a fixed set of results and hands them out as a warehouse would to an unprivileged role: logins, constants, the
SELECT of a table, chunk downloads; every look at metadata is refused. Written from notes of what the real service sends, so
that a mistake in the sandbox cannot hide the same mistake in the client. What goes wrong on the way is up to `disturb`.
"""

from __future__ import annotations

import base64
import collections
import gzip
import io
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

NEWER_KEY = base64.b64encode(b"k" * 32).decode()
_METADATA = re.compile(r"^\s*(show|desc|describe|explain)\b|information_schema|account_usage|get_ddl|system\$", re.IGNORECASE)
_SELECT = re.compile(r"^\s*select \* from ([\w.\"]+)\s*;?\s*$", re.IGNORECASE)


@dataclass
class Chunk:
    body: Path | bytes
    rows: int
    size: int  # inflated

    def read(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else self.body.read_bytes()


@dataclass
class Result:
    """An answer as the wire has it: inline Arrow (bytes) or rows of JSON, then chunks."""

    row_type: list[dict[str, Any]]
    inline: bytes | list[list[str | None]] = b""
    inline_rows: int = 0
    chunks: list[Chunk] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.inline_rows + sum(chunk.rows for chunk in self.chunks)


def column(name: str, kind: str, precision: int | None = None, scale: int | None = None, **more: Any) -> dict[str, Any]:
    length = 16_777_216 if kind == "text" else None
    return {"name": name, "database": "", "schema": "", "table": "", "type": kind, "precision": precision, "scale": scale,
            "length": length, "byteLength": length, "nullable": True, "collation": None, **more}  # fmt: skip


def stream_of(table: pa.Table, batch_rows: int = 0) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows or None)
    return sink.getvalue()


def arrow_chunk(table: pa.Table, file: Path | None = None, batch_rows: int = 0) -> Chunk:
    stream = stream_of(table, batch_rows)
    body = gzip.compress(stream, 1)
    if file is None:
        return Chunk(body, table.num_rows, len(stream))
    file.write_bytes(body)
    return Chunk(file, table.num_rows, len(stream))


def lineitem(parquet: Path, folder: Path, inline_rows: int = 300) -> Result:
    """TPC-H lineitem as Snowflake sends it: scaled integers in their narrowest width, growing chunks, gzip."""
    file = pq.ParquetFile(parquet)
    rest = file.metadata.num_rows - inline_rows
    sizes = [5_000, 10_000, 20_000, 40_000, 80_000]
    while sum(sizes) < rest:
        sizes.append(107_000)
    sizes[-1] -= sum(sizes) - rest
    result = Result([_lineitem_column(f) for f in file.schema_arrow])

    def narrow(values: pa.ChunkedArray) -> pa.ChunkedArray:
        if not pa.types.is_decimal(values.type):
            return values.cast(pa.utf8()) if pa.types.is_string_view(values.type) else values
        return (
            pa.compute.multiply(values, pa.scalar(100, pa.decimal128(3, 0)))
            .cast(pa.decimal128(20, 0), safe=False)
            .cast(pa.int32())
        )

    def wire(table: pa.Table) -> pa.Table:
        arrays = [narrow(values) for values in table.columns]
        for index, array in enumerate(arrays):
            if array.type == pa.int64():
                arrays[index] = array.cast(pa.int32())
        fields = [
            pa.field(f.name.upper(), a.type, True, {"logicalType": "FIXED" if pa.types.is_integer(a.type) else "TEXT"})
            for f, a in zip(table.schema, arrays, strict=True)
        ]
        return pa.table(arrays, schema=pa.schema(fields))

    def pieces():
        wanted, waiting, have = iter([inline_rows, *sizes]), [], 0
        size = next(wanted)
        for batch in file.iter_batches(65_536):
            waiting.append(batch)
            have += batch.num_rows
            while size is not None and have >= size:
                table = pa.Table.from_batches(waiting)
                yield table.slice(0, size)
                waiting = table.slice(size).to_batches()
                have -= size
                size = next(wanted, None)

    with ThreadPoolExecutor(2) as pool:
        made = []
        for index, piece in enumerate(pieces()):
            if index == 0:
                result.inline, result.inline_rows = stream_of(wire(piece)), inline_rows
            else:
                made.append(pool.submit(lambda t, i: arrow_chunk(wire(t), folder / f"chunk-{i}.gz", 30_000), piece, index))
                if len(made) > 4:  # bounded: the pieces waiting for a thread hold the whole table otherwise
                    made[-4].result()
        result.chunks = [one.result() for one in made]
    return result


def _lineitem_column(field: pa.Field) -> dict[str, Any]:
    name = field.name.upper()
    if pa.types.is_decimal(field.type):
        return column(name, "fixed", field.type.precision, field.type.scale)
    if pa.types.is_integer(field.type):
        return column(name, "fixed", 38, 0)
    return column(name, "date" if pa.types.is_date(field.type) else "text")


Disturb = Callable[[int, int], str | None]


class StaticServer:
    """``with StaticServer(tables) as server``; `disturb(chunk, attempt)` names what happens to a download, or None:
    a status ("503"), "reset", "cut" (the body ends early), "drip" (slowly), "short" (a clean end one row early)."""

    def __init__(self, tables: dict[str, Result]) -> None:
        self.tables = tables
        self.use_qrmk = False
        self.content_encoding = True
        self.disturb: Disturb = lambda chunk, attempt: None
        self.reset()

    def reset(self) -> None:
        self.logins = 0
        self.statements: list[str] = []
        self.refused: list[str] = []
        self.refreshes = 0
        self.attempts: collections.Counter[int] = collections.Counter()
        self.generation = 1
        self.closed = 0

    @property
    def connection_keys(self) -> dict[str, Any]:
        return {"account": "static", "user": "ana", "password": "pw", "host": "127.0.0.1", "port": self.port, "protocol": "http"}

    def __enter__(self) -> Self:
        outer = self

        class Handler(_Handler):
            server_state = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    # -- answers ----------------------------------------------------------------------------------------------------

    def login(self) -> dict[str, Any]:
        self.logins += 1
        return _ok({
            "token": "tok-s", "validityInSeconds": 3599, "masterToken": "tok-m", "masterValidityInSeconds": 14399,
            "idToken": None, "idTokenValidityInSeconds": 0, "mfaToken": None, "mfaTokenValidityInSeconds": 0,
            "sessionId": 90210, "displayUserName": "ANA", "serverVersion": "9.33.1", "firstLogin": False,
            "remMeToken": None, "remMeValidityInSeconds": 0, "healthCheckInterval": 45, "newClientForUpgrade": None,
            "sessionInfo": {"databaseName": "D", "schemaName": "PUBLIC", "warehouseName": "W", "roleName": "READER"},
            "parameters": [
                {"name": "TIMEZONE", "value": "America/Los_Angeles"},
                {"name": "CLIENT_SESSION_KEEP_ALIVE", "value": False},
            ],
        })  # fmt: skip

    def query(self, sql: str) -> dict[str, Any]:
        self.statements.append(sql)
        if _METADATA.search(sql):
            self.refused.append(sql)
            if "information_schema" in sql.lower():
                return _refused("002003", "02000", "Object 'INFORMATION_SCHEMA.TABLES' does not exist or not authorized.")
            return _refused("003001", "42501", "SQL access control error:\nInsufficient privileges to operate on table")
        if re.match(r"^\s*alter session\b", sql, re.IGNORECASE):
            return self._constant("status", "Statement executed successfully.", 0x4000)
        if re.match(r"^\s*select\s+current_version\(\)\s*;?\s*$", sql, re.IGNORECASE):
            return self._constant("CURRENT_VERSION()", "9.33.1", 0x1000)
        if match := re.match(r"^\s*select\s+(\d+)\s*;?\s*$", sql, re.IGNORECASE):
            return self._constant(match[1], match[1], 0x1000)
        match = _SELECT.match(sql)
        name = match[1].replace('"', "") if match else ""
        if name.upper() not in self.tables:
            return _refused("002003", "42S02", f"SQL compilation error:\nObject '{name}' does not exist or not authorized.")
        return self.answer(name.upper())

    def answer(self, name: str) -> dict[str, Any]:
        result = self.tables[name]
        arrow = isinstance(result.inline, bytes)
        base = f"http://127.0.0.1:{self.port}/stage/{name}"
        data = {
            "parameters": [{"name": "TIMEZONE", "value": "America/Los_Angeles"}],
            "rowtype": result.row_type, "total": result.total, "returned": result.total,
            "queryId": f"01c0-{name}", "databaseProvider": None, "finalDatabaseName": "D", "finalSchemaName": "PUBLIC",
            "finalWarehouseName": "W", "finalRoleName": "READER", "numberOfBinds": 0, "arrayBindSupported": False,
            "statementTypeId": 4096, "version": 1, "sendResultTime": int(time.time() * 1000),
            "queryResultFormat": "arrow" if arrow else "json",
        }  # fmt: skip
        if arrow:
            data["rowsetBase64"] = base64.b64encode(result.inline).decode()
        else:
            data["rowset"] = result.inline
        if result.chunks:
            data["chunks"] = [
                {"url": f"{base}/{i}?sig={self.generation}", "rowCount": c.rows, "uncompressedSize": c.size,
                 "compressedSize": len(c.body) if isinstance(c.body, bytes) else c.body.stat().st_size}
                for i, c in enumerate(result.chunks)
            ]  # fmt: skip
            data["qrmk"] = NEWER_KEY
            if not self.use_qrmk:
                data["chunkHeaders"] = {"x-test-key": "open", "x-test-other": "sesame"}
        return _ok(data)

    def _constant(self, name: str, value: str, statement_type: int) -> dict[str, Any]:
        return _ok({"parameters": [], "rowtype": [column(name, "text")], "rowset": [[value]], "total": 1, "returned": 1,
                    "queryId": "01c0-const", "statementTypeId": statement_type, "version": 1,
                    "queryResultFormat": "json"})  # fmt: skip

    def wanted_headers(self) -> dict[str, str]:
        if not self.use_qrmk:
            return {"x-test-key": "open", "x-test-other": "sesame"}
        prefix = "x-amz-server-side-encryption-customer-"
        return {prefix + "algorithm": "AES256", prefix + "key": NEWER_KEY}


def _ok(data: dict[str, Any] | None) -> dict[str, Any]:
    return {"data": data, "code": None, "message": None, "success": True}


def _refused(code: str, state: str, message: str) -> dict[str, Any]:
    data = {"internalError": False, "errorCode": code, "age": 0, "sqlState": state, "queryId": "01c0-refused", "line": -1,
            "pos": -1, "type": "COMPILATION"}  # fmt: skip
    return {"data": data, "code": code, "message": message, "success": False}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: StaticServer

    def log_message(self, *_: object) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        state = self.server_state
        if path == "/session/v1/login-request":
            self._json(state.login())
        elif self.headers.get("Authorization") != 'Snowflake Token="tok-s"':
            self._json({"data": None, "code": "390104", "message": "must log in again", "success": False})
        elif path == "/queries/v1/query-request":
            self._json(state.query(json.loads(body)["sqlText"]))
        elif path == "/session":
            state.closed += 1
            self._json(_ok(None))
        elif path == "/session/heartbeat":
            self._json(_ok(None))
        else:
            self.send_error(404)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        state = self.server_state
        if match := re.fullmatch(r"/queries/01c0-(.+)/result", url.path):
            state.refreshes += 1
            self._json(state.answer(match[1]))
        elif match := re.fullmatch(r"/stage/(.+)/(\d+)", url.path):
            index = int(match[2])
            state.attempts[index] += 1
            self._chunk(state.tables[match[1]].chunks[index], index, parse_qs(url.query)["sig"][0])
        else:
            self.send_error(404)

    def _chunk(self, chunk: Chunk, index: int, signature: str) -> None:
        state = self.server_state
        allowed = all(self.headers.get(k) == v for k, v in state.wanted_headers().items())
        # Storage refuses a request that carries a token besides its own signature.
        if not allowed or self.headers.get("Authorization") or signature != str(state.generation):
            self._send(403, b"<Error><Code>AccessDenied</Code></Error>", {"Content-Type": "application/xml"})
            return
        what = state.disturb(index, state.attempts[index])
        if what and what.isdigit():
            self._send(int(what), b"try later", {"Content-Type": "text/plain"})
            return
        body = chunk.read()
        if what == "short":
            body = _one_row_less(body)
        headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
        if state.content_encoding:
            headers["Content-Encoding"] = "gzip"
        if what == "cut":
            body = body[: len(body) // 2]
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if what == "reset":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(0.05)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif what == "drip":
            step = max(1, len(body) // 20)
            for at in range(0, len(body), step):
                self.wfile.write(body[at : at + step])
                time.sleep(0.05)
        else:
            self.wfile.write(body)

    def _json(self, answer: dict[str, Any]) -> None:
        body = gzip.compress(json.dumps(answer).encode(), 1)
        self._send(200, body, {"Content-Type": "application/json", "Content-Encoding": "gzip"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        # A client that goes away in the middle is this server's business as usual.
        try:
            super().handle()
        except (ConnectionError, ValueError, OSError):
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except (ConnectionError, ValueError, OSError):
            self.close_connection = True


def _one_row_less(body: bytes) -> bytes:
    plain = gzip.decompress(body)
    if not plain.startswith(b"\xff\xff\xff\xff"):  # rows of JSON
        rows = json.loads(f"[{plain.decode()}]")[:-1]
        return gzip.compress(json.dumps(rows)[1:-1].encode(), 1)
    table = pa.ipc.open_stream(plain).read_all()
    return gzip.compress(stream_of(table.slice(0, table.num_rows - 1), 30_000), 1)
