"""Encoded results: the inline batch and the chunks, and the file that holds them.

A result's chunks lie one after another in one anonymous temporary file: it costs one descriptor, takes no memory, and
is gone with the process even after SIGKILL.
"""

from __future__ import annotations

import collections
import json
import os
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from snowmelt_sandbox.jsonform import rows_of
from snowmelt_sandbox.settings import ResultShape
from snowmelt_sandbox.sqltypes import Column
from snowmelt_sandbox.wire import WirePlan

_SAMPLE_ROWS = 2_048
_GZIP = 31
_WORKERS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="encode")
_AHEAD = 3


class Cancelled(Exception):
    """The statement was aborted while its result was being encoded."""


@dataclass(frozen=True)
class Chunk:
    offset: int
    compressed: int
    uncompressed: int
    rows: int


@dataclass
class EncodedResult:
    """A complete result, ready to be served any number of times."""

    columns: tuple[Column, ...]
    format: str
    inline: bytes = b""
    inline_rows: int = 0
    rowset: list[list[str | None]] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    file: Any = None

    @property
    def total(self) -> int:
        return self.inline_rows + sum(c.rows for c in self.chunks)

    def read(self, index: int) -> bytes:
        """A chunk's gzip body."""
        chunk = self.chunks[index]
        return os.pread(self.file.fileno(), chunk.compressed, chunk.offset)

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def ipc_stream(batch: pa.RecordBatch, batch_rows: int, end_of_stream: bool = True) -> pa.Buffer:
    """An Arrow IPC stream of ``batch`` cut into batches of ``batch_rows`` (0: one batch)."""
    sink = pa.BufferOutputStream()
    writer = pa.ipc.new_stream(sink, batch.schema)
    step = batch_rows or max(batch.num_rows, 1)
    for start in range(0, batch.num_rows, step):
        writer.write_batch(batch.slice(start, step))
    if not end_of_stream:
        # The writer has no way to leave the marker out, so it is cut off: it is the last 8 bytes.
        writer.close()
        whole = sink.getvalue()
        return whole.slice(0, whole.size - 8)
    writer.close()
    return sink.getvalue()


def gzip_body(body: Any) -> bytes:
    return zlib.compress(body, 1, wbits=_GZIP)


class Encoder:
    """Cuts a stream of stored batches into an inline part and growing chunks, and encodes them on two threads."""

    def __init__(self, shape: ResultShape, plan: WirePlan, as_json: bool, cancelled: Callable[[], bool]) -> None:
        self._shape = shape
        self._plan = plan
        self._json = as_json
        self._cancelled = cancelled

    def encode(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> EncodedResult:
        result = EncodedResult(self._plan.columns, "json" if self._json else "arrow")
        cutter = _Cutter(schema, batches)
        per_row = self._bytes_per_row(cutter)
        self._encode_inline(result, cutter, per_row)
        pending: collections.deque[Future[tuple[bytes, int, int]]] = collections.deque()
        try:
            for rows in self._chunk_sizes(cutter, per_row):
                if self._cancelled():
                    raise Cancelled
                pending.append(_WORKERS.submit(self._encode_chunk, cutter.take(rows)))
                if len(pending) >= _AHEAD:
                    self._append(result, pending.popleft().result())
            while pending:
                self._append(result, pending.popleft().result())
        except BaseException:
            for future in pending:
                future.cancel()
            result.close()
            raise
        if result.file is not None:
            result.file.flush()
        return result

    def _bytes_per_row(self, cutter: _Cutter) -> Callable[[], float]:
        """Wire bytes per row, estimated for the rows ahead: the ratio of a sample times the stored size ahead."""
        sample = cutter.peek(_SAMPLE_ROWS)
        if not sample.num_rows:
            return lambda: 1.0
        ratio = self._plan.encode(sample).nbytes / max(sample.nbytes, 1)
        return lambda: max(1.0, ratio * cutter.stored_bytes_per_row())

    def _encode_inline(self, result: EncodedResult, cutter: _Cutter, per_row: Callable[[], float]) -> None:
        shape = self._shape
        wanted = 0
        if shape.inline:
            wanted = shape.inline_rows if shape.inline_rows is not None else max(1, int(shape.inline_bytes / per_row()))
        table = cutter.take(wanted)
        result.inline_rows = table.num_rows
        if self._json:
            result.rowset = rows_of(table, self._plan.columns)
        elif table.num_rows or (cutter.exhausted() and shape.inline):
            result.inline = ipc_stream(self._plan.encode(table), shape.batch_rows).to_pybytes()

    def _chunk_sizes(self, cutter: _Cutter, per_row: Callable[[], float]) -> Iterator[int]:
        shape = self._shape
        target = 2 * shape.inline_bytes
        number = 0
        while not cutter.exhausted():
            if shape.chunk_rows:
                yield shape.chunk_rows[min(number, len(shape.chunk_rows) - 1)]
            else:
                yield max(1, min(shape.chunk_max_rows, int(min(target, shape.chunk_max_bytes) / per_row())))
                target = min(2 * target, shape.chunk_max_bytes)
            number += 1

    def _encode_chunk(self, table: pa.Table) -> tuple[bytes, int, int]:
        if self._json:
            # Snowflake leaves the outer brackets of a JSON chunk out.
            text = ",".join(json.dumps(row, ensure_ascii=False) for row in rows_of(table, self._plan.columns))
            body: Any = text.encode()
        else:
            body = ipc_stream(self._plan.encode(table), self._shape.batch_rows)
        return gzip_body(body), len(body), table.num_rows

    def _append(self, result: EncodedResult, encoded: tuple[bytes, int, int]) -> None:
        body, size, rows = encoded
        if result.file is None:
            result.file = tempfile.TemporaryFile(prefix="snowmelt-sandbox-")  # noqa: SIM115 (lives as long as the result)
        last = result.chunks[-1] if result.chunks else Chunk(0, 0, 0, 0)
        result.file.write(body)
        result.chunks.append(Chunk(last.offset + last.compressed, len(body), size, rows))


class _Cutter:
    """Buffers stored batches just far enough to cut exact numbers of rows."""

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        self._schema = schema.remove_metadata()
        self._source = iter(batches)
        self._buffer: collections.deque[pa.RecordBatch] = collections.deque()
        self._rows = 0
        self._done = False

    def _fill(self, rows: int) -> None:
        while self._rows < rows and not self._done:
            batch = next(self._source, None)
            if batch is None:
                self._done = True
            elif batch.num_rows:
                self._buffer.append(batch)
                self._rows += batch.num_rows

    def exhausted(self) -> bool:
        self._fill(1)
        return not self._rows

    def stored_bytes_per_row(self) -> float:
        self._fill(1)
        head = self._buffer[0] if self._buffer else None
        return head.nbytes / head.num_rows if head is not None else 1.0

    def peek(self, rows: int) -> pa.Table:
        self._fill(rows)
        return self._table(list(self._buffer)).slice(0, rows)

    def take(self, rows: int) -> pa.Table:
        self._fill(rows)
        taken = []
        left = min(rows, self._rows)
        self._rows -= left
        while left:
            batch = self._buffer.popleft()
            if batch.num_rows > left:
                self._buffer.appendleft(batch.slice(left))
                batch = batch.slice(0, left)
            left -= batch.num_rows
            taken.append(batch)
        return self._table(taken)

    def _table(self, batches: list[pa.RecordBatch]) -> pa.Table:
        schema = batches[0].schema if batches else self._schema
        return pa.Table.from_batches(batches, schema)


class ResultCache:
    """Encodes each distinct result once; others that ask meanwhile wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._results: dict[Any, EncodedResult | None] = {}

    def get(self, key: Any, make: Callable[[], EncodedResult], cancelled: Callable[[], bool]) -> EncodedResult:
        with self._lock:
            while key in self._results:
                if (result := self._results[key]) is not None:
                    return result
                if cancelled():
                    raise Cancelled
                self._lock.wait(0.05)
            self._results[key] = None
        made: EncodedResult | None = None
        try:
            made = make()
            return made
        finally:
            with self._lock:
                if made is None:
                    del self._results[key]
                else:
                    self._results[key] = made
                self._lock.notify_all()
