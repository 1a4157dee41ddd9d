"""Chunk bodies: how they are sent, and how they are spoilt on request."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from snowmelt_sandbox.chunks import gzip_body, ipc_stream
from snowmelt_sandbox.faults import Fault

_PIECE = 1 << 20


class BodyResponse(Response):
    """A large body in pieces, so that flow control works and a slow reader costs little memory."""

    def __init__(self, body: bytes, headers: dict[str, str]) -> None:
        super().__init__(b"", headers={"content-length": str(len(body)), **headers}, media_type="application/octet-stream")
        self._whole = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        for offset in range(0, max(len(self._whole), 1), _PIECE):
            piece = self._whole[offset : offset + _PIECE]
            more = offset + _PIECE < len(self._whole)
            await send({"type": "http.response.body", "body": piece, "more_body": more})


def spoil(body: bytes, fault: Fault, form: str, batch_rows: int) -> bytes:
    """A chunk with rows missing at its end, or with bytes flipped."""
    if fault.action == "corrupt" and fault.layer == "gzip":
        return _flip(body)
    plain = gzip.decompress(body)
    if fault.action == "corrupt":
        return gzip_body(_flip(plain))
    if form == "json":
        rows = json.loads(f"[{plain.decode()}]")
        kept = rows[: max(len(rows) - fault.rows, 0)]
        return gzip_body(",".join(json.dumps(r) for r in kept).encode())
    table = pa.ipc.open_stream(plain).read_all()
    kept_rows = max(table.num_rows - fault.rows, 0)
    batches = table.slice(0, kept_rows).combine_chunks().to_batches()
    batch = batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)
    return gzip_body(ipc_stream(batch, batch_rows, fault.eos))


def _flip(data: bytes) -> bytes:
    """Eight bytes in the middle of the content inverted."""
    middle = len(data) // 2
    return data[:middle] + bytes(b ^ 0xFF for b in data[middle : middle + 8]) + data[middle + 8 :]
