"""Writes the first inputs of the fuzz targets to fuzz/corpus/<target>/: small, of every type, by writers that are not ours.

Run with .venv's Python when a target gets a new type; the files are committed.
"""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import io
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CORPUS = Path(__file__).resolve().parent / "corpus"


def put(target: str, name: str, data: bytes) -> None:
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    (CORPUS / target / name).write_bytes(data)


def stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


STRUCT_NTZ = pa.struct([("epoch", pa.int64()), ("fraction", pa.int32())])
STRUCT_TZ = pa.struct([("epoch", pa.int64()), ("fraction", pa.int32()), ("timezone", pa.int32())])
DECFLOAT = pa.struct([("exponent", pa.int16()), ("significand", pa.binary())])

WIRE = {
    "numbers": pa.table(
        {
            "A": pa.array([1, None, -3], pa.int8()),
            "B": pa.array([1, 2, None], pa.int64()),
            "C": pa.array([Decimal("1.5"), None, Decimal("-2.25")], pa.decimal128(38, 2)),
            "D": pa.array([1.5, None, 2.5]),
        }
    ),
    "texts": pa.table(
        {
            "A": ["x", None, "\u00e9\u4e2d"],
            "B": pa.array([b"\0\1", None, b""], pa.binary()),
            "C": ['{"a": 1}', "[1]", None],
            "D": pa.array([True, None, False]),
        }
    ),
    "times": pa.table(
        {
            "A": pa.array([0, None, -1], pa.date32()),
            "B": pa.array([1, None, 86_399_999_999_999], pa.int64()),
            "C": pa.array([{"epoch": 1, "fraction": 5}, None, {"epoch": -1, "fraction": 999_999_999}], STRUCT_NTZ),
            "D": pa.array([{"epoch": 1, "fraction": 5, "timezone": 1500}, None, None], STRUCT_TZ),
        }
    ),
    "nested": pa.table(
        {
            "A": pa.array([{"x": 1, "y": ["a", None]}, None, {"x": None, "y": []}]),
            "B": pa.array([[1, 2], None, []]),
            "C": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
            "D": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        }
    ),
    "decfloat": pa.table(
        {"A": pa.array([{"exponent": -2, "significand": b"\x7b"}, None, {"exponent": 6144, "significand": b"\x80"}], DECFLOAT)}
    ),
    "dictionary": pa.table({"A": pa.array(["x", "y", "x"]).dictionary_encode()}),
    "empty": pa.table({"A": pa.array([], pa.int64())}),
}

FILES = {
    "plain": pa.table(
        {
            "i": pa.array([1, None, 3], pa.int32()),
            "t": ["a", None, "c"],
            "d": pa.array([Decimal("1.50"), None, None], pa.decimal128(12, 2)),
            "ts": pa.array([dt.datetime(2024, 1, 2, tzinfo=dt.UTC), None, None], pa.timestamp("us", "UTC")),
            "day": pa.array([dt.date(2024, 1, 2), None, None]),
            "b": pa.array([b"\0", None, b"x"]),
            "f": pa.array([1.5, None, 2.5]),
        }
    ),
    "nested": pa.table(
        {
            "l": pa.array([[1, 2], None, []]),
            "s": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}]),
            "m": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
        }
    ),
    "dictionary": pa.table({"t": pa.array(["x", "y", "x"]).dictionary_encode()}),
    "times": pa.table(
        {
            "t": pa.array([1, None, 86_399_999_999], pa.time64("us")),
            "n": pa.array([1, None, 2], pa.timestamp("ns")),
            "h": pa.array([1.5, None, 2.5], pa.float16()),
            "u": pa.array([1, None, 2**63], pa.uint64()),
        }
    ),
}

MANIFEST = {
    "format": 1,
    "export_id": "20261125T010203-1f3a9c00",
    "source": "D.S.T",
    "statement": "select * from D.S.T",
    "query_id": "q",
    "created_at": "2026-11-25T01:02:03Z",
    "writer": "snowmelt",
    "rows": 3,
    "bytes": 10,
    "columns": [{"name": "A", "source_type": "NUMBER(38,0)", "nullable": True}],
    "parts": [{"file": "part-20261125T010203-1f3a9c00-00000.parquet", "rows": 3, "bytes": 10, "sha256": "0" * 64}],
}

SETTINGS = """[snowflake]
account = "myorg-acct"
user = "ana"
port = 443
session_parameters = { QUERY_TAG = "x", A = 1, B = true }
[postgres]
uri = "postgresql://localhost/app"
[export]
directory = "export"
part_size = 1000
[defaults]
mode = "replace"
[[table]]
source = 'SALES."Odd Schema".ORDERS'
rename = { "A" = "b" }
drop = ["C"]
[[table]]
query = "select 1"
name = "one"
"""

CONNECTIONS = '[dev]\naccount = "a"\nuser = "u"\nport = "443"\n[default]\naccount = "b"\n'
CONFIG = 'default_connection_name = "dev"\n[connections.dev]\naccount = "a"\nuser = "u"\n'


ROW_TYPES = {
    pa.types.is_integer: "fixed",
    pa.types.is_decimal: "fixed",
    pa.types.is_floating: "real",
    pa.types.is_string: "text",
    pa.types.is_binary: "binary",
    pa.types.is_boolean: "boolean",
    pa.types.is_date: "date",
    pa.types.is_struct: "timestamp_ntz",
}


def answer(table: pa.Table) -> bytes:
    """What the bridge says of a statement whose rows all came with its answer."""
    columns = [
        {
            "name": field.name,
            "type": next((word for is_type, word in ROW_TYPES.items() if is_type(field.type)), "array"),
            "precision": 38,
            "scale": 0,
            "length": 16,
            "byteLength": 64,
            "nullable": True,
            "fields": [],
        }
        for field in table.schema
    ]
    said = {
        "query_id": "01-2",
        "total": table.num_rows,
        "returned": table.num_rows,
        "statement_type_id": 4096,
        "format": "arrow",
        "row_type": columns,
        "chunks": [],
        "chunk_headers": {},
        "rowset_base64": base64.b64encode(stream(table)).decode(),
    }
    return json.dumps(said).encode()


ROWS = {
    "query_id": "01-2",
    "total": 3,
    "returned": 1,
    "statement_type_id": 4096,
    "format": "json",
    "chunk_headers": {"x-amz": "AES256"},
    "row_type": [
        {"name": "A", "type": "fixed", "precision": 12, "scale": 2},
        {"name": "B", "type": "timestamp_tz", "scale": 9},
        {"name": "C", "type": "vector", "vectorDimension": 2, "fields": [{"type": "real"}]},
    ],
    "rowset": [["1.50", "1.5 1500", None]],
    "chunks": [{"url": "https://h/1?s=1", "row_count": 2, "uncompressed_size": 100, "compressed_size": 50}],
}


def main() -> None:
    put("answer", "rows", json.dumps(ROWS).encode())
    for name, table in WIRE.items():
        for choice in range(3):
            put("chunk_stream", f"{name}-{choice}", bytes([choice * 37 % 256] * 8) + stream(table))
        put("answer", f"inline-{name}", answer(table))
    put("chunk_stream", "gzip", bytes(8) + gzip.compress(stream(WIRE["numbers"]), mtime=0))
    for name, table in FILES.items():
        for compression in ("none", "zstd"):
            sink = io.BytesIO()
            pq.write_table(table, sink, compression=compression, write_page_checksum=False)
            put("parquet_import", f"{name}-{compression}", sink.getvalue())
    put("manifest", "plain", json.dumps(MANIFEST).encode())
    put("settings", "whole", SETTINGS.encode())
    put("connections_file", "connections", b"\1" + CONNECTIONS.encode())
    put("connections_file", "config", b"\0" + CONFIG.encode())
    for seed in range(8):
        put("copy_postgres", f"seed-{seed}", bytes((i * (seed + 3) * 31 + seed) % 256 for i in range(160)))


if __name__ == "__main__":
    main()
