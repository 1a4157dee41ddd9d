"""Bytes as a server or a file gives them, with some of them changed; and what pyarrow's full validation says of them."""

from __future__ import annotations

import datetime as dt
import io
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from static_server import column, stream_of

ROWS = 40
# Where 32 and 64 bits end, where a signed number turns, and what points a little or far beyond a small buffer.
NUMBERS = [0, 1, -1, 3, 7, 8, 63, 64, 65, 255, 4096, 65_536, 2**20, 2**30, 2**31 - 1, -(2**31), 2**31 - 256, -8]


def _some(values: list[Any], every: int = 7) -> list[Any]:
    """As many as there are rows, each seventh NULL."""
    return [None if i % every == every - 1 else values[i % len(values)] for i in range(ROWS)]


def wire_tables() -> list[tuple[list[dict[str, Any]], pa.Table]]:
    """Row types with their columns in the physical forms of the wire."""
    structs = pa.array(_some([{"epoch": 1_700_000_000, "fraction": 500_000_000}]),
                       pa.struct([("epoch", pa.int64()), ("fraction", pa.int32())]))  # fmt: skip
    zoned = pa.array(_some([{"epoch": 1_700_000_000, "fraction": 0, "timezone": 1500}]),
                     pa.struct([("epoch", pa.int64()), ("fraction", pa.int32()), ("timezone", pa.int32())]))  # fmt: skip
    decfloat = pa.array(_some([{"exponent": -3, "significand": b"\x01\x02"}, {"exponent": 5, "significand": b"\xff"}]),
                        pa.struct([("exponent", pa.int16()), ("significand", pa.binary())]))  # fmt: skip
    member = pa.struct([("A", pa.int64()), ("S", pa.utf8()), ("L", pa.list_(pa.utf8()))])
    structured = pa.array(_some([{"A": 5, "S": "text", "L": ["x", None, "yz"]}, {"A": None, "S": "é", "L": []}]), member)
    lists = pa.array(_some([["one", "two"], [], ["three", None]]), pa.list_(pa.utf8()))
    maps = pa.array(_some([[("k", Decimal("1.50")), ("l", None)], []]), pa.map_(pa.utf8(), pa.decimal128(38, 2)))
    fields = [column("A", "fixed", 38, 0), column("S", "text"), column("L", "array", fields=[column("", "text")])]
    return [
        (
            [column("N", "fixed", 38, 0), column("D", "fixed", 12, 2), column("W", "fixed", 38, 2), column("R", "real"),
             column("F", "boolean"), column("DAY", "date"), column("T", "text")],
            pa.table({
                "N": pa.array(_some([1, -(2**62)]), pa.int64()), "D": pa.array(_some([1, 99]), pa.int32()),
                "W": pa.array(_some([Decimal("1.25"), Decimal(10**30)]), pa.decimal128(38, 2)),
                "R": pa.array(_some([0.5, -1e300])), "F": pa.array(_some([True, False])),
                "DAY": pa.array(_some([dt.date(2024, 2, 29)]), pa.date32()), "T": pa.array(_some(["", "text", "é" * 9])),
            }),
        ),
        ([column("B", "binary"), column("T", "text"), column("U", "text")],
         pa.table({"B": pa.array(_some([b"", b"\0\xff\x01"]), pa.binary()), "T": pa.array(_some(["a longer text of some words"])),
                   "U": pa.array(_some(["x" * 200, ""]))})),
        ([column("TI", "time", None, 9), column("A", "timestamp_ntz", None, 9), column("Z", "timestamp_tz", None, 9),
          column("X", "decfloat")],
         pa.table({"TI": pa.array(_some([0, 86_399_999_999_000]), pa.int64()), "A": structs, "Z": zoned, "X": decfloat})),
        ([column("O", "object", fields=fields), column("L", "array", fields=[column("", "text")]),
          column("M", "map", fields=[column("", "text"), column("", "fixed", 38, 2)]),
          column("V", "vector", vectorDimension=3, fields=[column("", "real")])],
         pa.table({"O": structured, "L": lists, "M": maps,
                   "V": pa.array(_some([[1.0, 0.5, -2.0]]), pa.list_(pa.float32(), 3))})),
    ]  # fmt: skip


def parquet_files() -> list[bytes]:
    """Uncompressed, so that a changed byte reaches the decoders: dictionaries, plain pages, deltas, nested columns."""
    texts = [f"name {i % 5}" if i % 7 else None for i in range(300)]
    flat = pa.table({
        "id": pa.array(range(300), pa.int64()), "name": texts, "bytes": pa.array([b"\0\xff" * (i % 4) for i in range(300)]),
        "money": pa.array([Decimal(i) / 4 for i in range(300)], pa.decimal128(12, 2)),
        "wide": pa.array([Decimal(10**30 + i) for i in range(300)], pa.decimal128(38, 0)),
        "at": pa.array(range(300), pa.timestamp("us", "UTC")), "day": pa.array(range(300), pa.date32()),
        "flag": pa.array([i % 3 == 0 for i in range(300)]), "real": pa.array([i / 3 for i in range(300)]),
    })  # fmt: skip
    nested = pa.table({
        "list": pa.array([[i, None] if i % 3 else [] for i in range(300)], pa.list_(pa.int32())),
        "texts": pa.array([[f"t{i % 4}"] * (i % 3) for i in range(300)], pa.list_(pa.utf8())),
        "struct": pa.array([{"a": i, "b": ["x", str(i)]} for i in range(300)]),
        "kind": pa.array(texts).dictionary_encode(),
    })  # fmt: skip
    deltas = {
        "id": "DELTA_BINARY_PACKED",
        "name": "DELTA_BYTE_ARRAY",
        "bytes": "DELTA_LENGTH_BYTE_ARRAY",
        "real": "BYTE_STREAM_SPLIT",
    }
    files = []
    for table, options in [
        (flat, {}),
        (flat, {"use_dictionary": False, "row_group_size": 100}),
        (flat, {"use_dictionary": False, "column_encoding": deltas, "data_page_version": "2.0"}),
        (nested, {}),
        (nested, {"use_dictionary": False, "row_group_size": 100}),
    ]:
        sink = io.BytesIO()
        pq.write_table(table, sink, compression="none", **options)
        files.append(sink.getvalue())
    return files


def mutate(body: bytes, chance: random.Random) -> bytes:
    """One to three changes: a byte, a word of 4 or 8 bytes, a piece that is missing or there twice, an end too early."""
    data = bytearray(body)
    for _ in range(chance.randint(1, 3)):
        kind = chance.random()
        at = chance.randrange(max(len(data) - 8, 1))
        if kind < 0.3:
            data[at] ^= 1 << chance.randrange(8)
        elif kind < 0.85:
            width = chance.choice([4, 4, 4, 8])
            at -= at % 4
            number = chance.choice([*NUMBERS, chance.randrange(-100, 4 * len(body))])
            data[at : at + width] = (number % 2 ** (8 * width)).to_bytes(width, "little")
        elif kind < 0.92:
            del data[at - at % 8 : at - at % 8 + 8]
        elif kind < 0.96:
            data[at:at] = data[at : at + 8]
        else:
            del data[max(at, 1) :]
    return bytes(data)


def wire_streams() -> list[tuple[list[dict[str, Any]], bytes, int]]:
    return [(row_type, stream_of(table), table.num_rows) for row_type, table in wire_tables()]


def _refused(read: Callable[[], Any]) -> str | None:
    try:
        read().validate(full=True)
    except (pa.ArrowException, OSError, ValueError, KeyError, NotImplementedError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def stream_refused(stream: bytes) -> str | None:
    """What pyarrow has against it."""

    def read() -> pa.Table:
        table = pa.ipc.open_stream(stream).read_all()
        for batch in table.to_batches():
            batch.validate(full=True)
        return table

    return _refused(read)


def file_refused(file: str) -> str | None:
    return _refused(lambda: pq.ParquetFile(file, page_checksum_verification=True).read())
