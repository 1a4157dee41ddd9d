"""A server that says one thing and sends another: sizes, counts, offsets, types.

Each ends its table by one clear error, with memory bounded.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mutated import ROWS, wire_tables
from program import SANITIZED, Outcome, Project
from snowmelt_sandbox.testing import PATIENCE
from static_server import Chunk, Result, StaticServer, arrow_chunk, column, stream_of

GOOD = Result([column("N", "fixed", 38, 0)], chunks=[arrow_chunk(pa.table({"N": pa.array(range(100), pa.int64())}))])
GOOD_TEXT = arrow_chunk(pa.table({"T": ["text"]}))
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


def larger_than_announced(body: str) -> Result:
    one = gzip.compress(bytes(30 << 20), 1)
    bodies = {"members": one * 10, "trailer": one[:-4] + b"\xff\xff\xff\xff",
              "json": gzip.compress(b'["1"],' * 10_000_000, 1), "plain": b'["1"],' * 10_000_000}  # fmt: skip
    inline: Any = [] if body in {"json", "plain"} else b""
    return Result([column("T", "text")], inline=inline, chunks=[Chunk(bodies[body], 1000, 1000) for _ in range(6)])


BODIES = ["members", "trailer", "json", "plain"]


def export_measured(project: Project, result: Result) -> tuple[Outcome, int]:
    with StaticServer({"D.PUBLIC.BAD": result}) as server:
        project.configure(
            snowflake=server.connection_keys, tables=[{"source": "D.PUBLIC.BAD"}], extra=f"memory_limit = {MEMORY_LIMIT}"
        )
        return project.run_measured("export")


READ = """
import json, sys, time
import snowmelt

def kb(name):
    (line,) = [line for line in open("/proc/self/status") if line.startswith(name)]
    return int(line.split()[1])

def settled():
    # What is fetched ahead has come: nothing grows for a second.
    before, still = kb("VmRSS"), 0
    while still < 5:
        time.sleep(0.2)
        now = kb("VmRSS")
        before, still = now, still + 1 if abs(now - before) < 1000 else 0

def batches(cursor):
    rows = 0
    for batch in cursor.fetch_record_batches():
        if not rows:
            settled()
        rows += batch.num_rows
    return rows

def stream(cursor):
    import pyarrow
    with pyarrow.RecordBatchReader.from_stream(cursor) as reader:
        return sum(batch.num_rows for batch in reader)

READERS = {"batches": batches, "rows": lambda cursor: sum(1 for _ in cursor), "stream": stream,
           "table": lambda cursor: cursor.fetch_arrow_table().num_rows}
keys, reader = json.load(sys.stdin)
with snowmelt.SnowflakeConnectionManager(**keys) as manager:
    cursor = manager.get_connection().cursor()
    cursor.execute("select * from D.PUBLIC.BAD")
    try:
        outcome = READERS[reader](cursor)
    except snowmelt.Error as error:
        outcome = str(error)
print(json.dumps([outcome, kb("VmHWM")]))
"""


def read_measured(project: Project, result: Result, reader: str) -> tuple[Any, int]:
    """Rows, or the error, of a reader of Python's; and its process's peak in KB."""
    with StaticServer({"D.PUBLIC.BAD": result}) as server:
        project.configure(extra=f"memory_limit = {MEMORY_LIMIT}")
        done = subprocess.run(
            [sys.executable, "-c", READ], input=json.dumps([server.connection_keys, reader]), text=True, capture_output=True,
            timeout=PATIENCE, check=False, env=project.variables(), cwd=project.directory,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcome, peak_kb = json.loads(done.stdout)
    return outcome, peak_kb if not SANITIZED else 0


@pytest.mark.parametrize("body", BODIES)
def test_memory_is_bounded_by_what_was_announced(project: Project, body: str) -> None:
    outcome, peak_kb = export_measured(project, larger_than_announced(body))
    assert outcome.code == 11, outcome.stderr
    assert peak_kb < PEAK_KB


def test_memory_is_bounded_where_no_size_was_announced(project: Project) -> None:
    chunk = replace(arrow_chunk(pa.table({"T": ["x" * 1_000_000] * 240})), size=0)
    outcome, peak_kb = export_measured(project, Result([column("T", "text")], chunks=[chunk] * 3))
    assert outcome.code == 11 and "memory_limit" in outcome.stderr, outcome.stderr
    assert peak_kb < PEAK_KB
    assert export(project, Result([column("T", "text")], chunks=[replace(GOOD_TEXT, size=0)])).code == 0


@pytest.mark.parametrize("reader", ["rows", "table"])
@pytest.mark.parametrize("body", BODIES)
def test_memory_of_python_is_bounded_by_what_was_announced(project: Project, body: str, reader: str) -> None:
    outcome, peak_kb = read_measured(project, larger_than_announced(body), reader)
    assert " of 6" in str(outcome)
    assert peak_kb < PEAK_KB


@pytest.mark.parametrize("reader", ["batches", "rows", "stream"])
def test_python_fetches_no_more_ahead_than_the_limit_allows(project: Project, reader: str) -> None:
    """Large chunks as announced, and a reader that takes its time."""
    chunk = arrow_chunk(pa.table({"T": ["x" * 1_000_000] * 80}))
    outcome, peak_kb = read_measured(project, Result([column("T", "text")], chunks=[chunk] * 12), reader)
    assert outcome == 12 * 80
    assert peak_kb < PEAK_KB


NAME = "N" * 6_000  # the wire has it once, JSON text in every row


def repeated_names() -> Result:
    rows = pa.array([{NAME: True}], pa.struct([(NAME, pa.bool_())]))
    table = pa.table({"O": pa.concat_arrays([rows] * 100_000)})
    return Result([column("O", "object", fields=[column(NAME, "boolean")])], chunks=[arrow_chunk(table)])


def test_json_text_is_bounded_whatever_it_repeats(project: Project) -> None:
    outcome, peak_kb = export_measured(project, repeated_names())
    assert outcome.code == 0, outcome.stderr
    assert peak_kb < PEAK_KB
    (part,) = project.export.rglob("*.parquet")
    with pq.ParquetFile(part) as file:
        assert file.metadata.num_rows == 100_000
        last = file.read_row_group(file.num_row_groups - 1)
    assert last["O"][-1].as_py() == json.dumps({NAME: True}, separators=(",", ":"))


@pytest.mark.parametrize("reader", ["batches", "stream"])
def test_json_text_that_python_reads_is_bounded_too(project: Project, reader: str) -> None:
    outcome, peak_kb = read_measured(project, repeated_names(), reader)
    assert outcome == 100_000
    assert peak_kb < PEAK_KB


def test_a_value_whose_json_text_has_no_end_is_refused(project: Project) -> None:
    result = repeated_names()
    rows = pa.concat_arrays([pa.array([{NAME: True}], pa.struct([(NAME, pa.bool_())]))] * 30_000)
    table = pa.table({"L": pa.ListArray.from_arrays([0, 30_000], rows)})
    array = column("L", "array", fields=[column("", "object", fields=result.row_type[0]["fields"])])
    outcome, peak_kb = export_measured(project, Result([array], chunks=[arrow_chunk(table)]))
    assert outcome.code == 7, outcome.stderr
    assert "column L, row 1" in outcome.stderr and "hint" in outcome.stderr
    assert peak_kb < PEAK_KB
