"""A server that says one thing and sends another: sizes, counts, offsets, types.

Each ends its table by one clear error, with memory bounded.
"""

from __future__ import annotations

import gzip
import io
import struct
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from mutated import ROWS, wire_tables
from program import Outcome, Project
from static_server import Chunk, Result, StaticServer, arrow_chunk, column, stream_of

GOOD = Result([column("N", "fixed", 38, 0)], chunks=[arrow_chunk(pa.table({"N": pa.array(range(100), pa.int64())}))])
MEMORY_LIMIT = 100_000_000
PEAK_KB = (2 * MEMORY_LIMIT + 200_000_000) // 1024


def export(project: Project, result: Result, **table: Any) -> Outcome:
    """The table beside a good one, which must not suffer."""
    with StaticServer({"D.PUBLIC.BAD": result, "D.PUBLIC.GOOD": GOOD}) as server:
        tables = [{"source": "D.PUBLIC.BAD", **table}, {"source": "D.PUBLIC.GOOD"}]
        project.configure(snowflake=server.connection_keys, tables=tables, extra=f"memory_limit = {MEMORY_LIMIT}")
        outcome = project.run("export", "--json")
    statuses = {entry["source"]: entry["status"] for entry in outcome.report["tables"]}
    assert statuses["D.PUBLIC.GOOD"] == "ok"
    assert not project.unfinished()
    return outcome


def error_of(outcome: Outcome) -> str:
    return outcome.report["tables"][0]["error"]["message"]


def with_word(stream: bytes, before: tuple[int, ...], after: tuple[int, ...]) -> bytes:
    """The stream with its last run of such 32-bit words replaced."""
    old, new = (struct.pack(f"<{len(words)}i", *words) for words in (before, after))
    at = stream.rfind(old)
    assert at >= 0
    return stream[:at] + new + stream[at + len(old) :]


@pytest.mark.parametrize("span", [65_536, 262_144, 0x7FFFFF00])
def test_inner_offsets_beyond_the_buffer_are_refused(project: Project, span: int) -> None:
    values = pa.array([b"aaaa", b"bbbb", b"cccc", None], pa.binary())
    stream = with_word(stream_of(pa.table({"B": values})), (0, 4, 8, 12, 12), (0, 4, span, 12, 12))
    outcome = export(project, Result([column("B", "binary")], chunks=[Chunk(gzip.compress(stream), 4, len(stream))]))
    assert outcome.code == 11
    assert "chunk 1 of 1" in error_of(outcome)
    assert "damaged" in error_of(outcome)


def test_the_inline_batch_is_looked_at_too(project: Project) -> None:
    stream = with_word(stream_of(pa.table({"T": ["aaaa", "bbbb"]})), (0, 4, 8), (0, 65_536, 8))
    outcome = export(project, Result([column("T", "text")], inline=stream, inline_rows=2))
    assert outcome.code == 11
    assert "the inline batch" in error_of(outcome)


def test_dictionaries_are_refused_by_name(project: Project) -> None:
    table = pa.table({"O": pa.array([{"a": "x"}]).cast(pa.struct([("a", pa.dictionary(pa.int32(), pa.utf8()))]))})
    outcome = export(project, Result([column("O", "object")], chunks=[arrow_chunk(table)]))
    assert outcome.code == 7
    assert "dictionary" in error_of(outcome)


def test_compressed_buffers_are_refused(project: Project) -> None:
    table = pa.table({"N": pa.repeat(pa.scalar(7), 10_000_000)})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    stream = sink.getvalue()
    assert len(stream) < 5_000_000, "of 80 MB"
    outcome = export(project, Result([column("N", "fixed", 38, 0)], chunks=[Chunk(stream, table.num_rows, len(stream))]))
    assert outcome.code == 11


@pytest.mark.parametrize("damage", ["flipped", "cut", "garbage"])
def test_damaged_gzip_is_no_matter_of_the_network(project: Project, damage: str) -> None:
    chunk = arrow_chunk(wire_tables()[0][1])
    body = bytearray(chunk.read())
    if damage == "flipped":
        body[len(body) // 2] ^= 0xFF
    elif damage == "cut":
        del body[-20:]
    else:
        body += b"and more"
    outcome = export(
        project, Result(wire_tables()[0][0], chunks=[arrow_chunk(wire_tables()[0][1]), Chunk(bytes(body), ROWS, chunk.size)])
    )
    assert outcome.code == 11
    assert "chunk 2 of 2" in error_of(outcome)


def test_text_that_is_not_utf8_names_column_and_row(project: Project) -> None:
    texts = pa.array([b"good", None, b"\xff\xfe", b"\xc3"], pa.binary()).view(pa.utf8())
    result = Result([column("N", "fixed", 38, 0), column("T", "text")],
                    chunks=[arrow_chunk(pa.table({"N": pa.array(range(4), pa.int64()), "T": texts}))])  # fmt: skip
    outcome = export(project, result)
    assert outcome.code == 7
    assert "column T, row 3" in outcome.stderr
    assert export(project, result, drop=["T"]).code == 0, "as the hint says"


@pytest.mark.parametrize("announced", [{"size": -1}, {"rows": -5}, {"rows": 2**61}, {"size": 2**63 - 1}])
def test_impossible_counts(project: Project, announced: dict[str, int]) -> None:
    chunk = replace(arrow_chunk(wire_tables()[0][1]), **announced)
    outcome = export(project, Result(wire_tables()[0][0], chunks=[chunk, chunk, chunk]))
    assert outcome.code == 11


@pytest.mark.parametrize("body", ["members", "trailer", "json", "plain"])
def test_memory_is_bounded_by_what_was_announced(project: Project, body: str) -> None:
    one = gzip.compress(bytes(30 << 20), 1)
    bodies = {"members": one * 10, "trailer": one[:-4] + b"\xff\xff\xff\xff",
              "json": gzip.compress(b'["1"],' * 10_000_000, 1), "plain": b'["1"],' * 10_000_000}  # fmt: skip
    inline: Any = [] if body in {"json", "plain"} else b""
    result = Result([column("T", "text")], inline=inline, chunks=[Chunk(bodies[body], 1000, 1000) for _ in range(6)])
    with StaticServer({"D.PUBLIC.BAD": result}) as server:
        project.configure(
            snowflake=server.connection_keys, tables=[{"source": "D.PUBLIC.BAD"}], extra=f"memory_limit = {MEMORY_LIMIT}"
        )
        outcome, peak_kb = project.run_measured("export")
    assert outcome.code == 11, outcome.stderr
    assert peak_kb < PEAK_KB
