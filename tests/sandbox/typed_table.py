"""One table with every type at every scale, with edge values, and what they must look like on the wire.

The storage conventions for ``snowflake.type`` are told in ``snowmelt_sandbox/sqltypes.py``; this is their example.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

# Instants as (seconds, nanoseconds): before 1970, far past and future, more digits than microseconds.
INSTANTS = [
    (0, 0),
    (-1, 999_999_999),
    (-62_135_596_800, 0),
    (253_402_300_799, 123_456_789),
    (1_700_000_000, 500_000_000),
]
OFFSETS = [0, 330, -210, 840, -720]
TIMES = [0, 86_399_999_999_999, 1, 45_296_123_456_789, 3_600_000_000_000]

_INSTANT = pa.struct([("seconds", pa.int64()), ("nanos", pa.int32())])
_ZONED = pa.struct([("seconds", pa.int64()), ("nanos", pa.int32()), ("offset_minutes", pa.int32())])


def typed_table() -> pa.Table:
    """Each column: its values, then a null."""
    columns: list[tuple[pa.Field, pa.Array]] = []

    def add(name: str, text: str | None, kind: pa.DataType, values: list[Any]) -> None:
        metadata = {"snowflake.type": text} if text else None
        columns.append((pa.field(name, kind, metadata=metadata), pa.array([*values, None], kind)))

    instants = [{"seconds": s, "nanos": n} for s, n in INSTANTS]
    zoned = [{"seconds": s, "nanos": n, "offset_minutes": o} for (s, n), o in zip(INSTANTS, OFFSETS, strict=True)]
    for scale in range(10):
        add(f"ntz{scale}", f"TIMESTAMP_NTZ({scale})", _INSTANT, instants)
        add(f"ltz{scale}", f"TIMESTAMP_LTZ({scale})", _INSTANT, instants)
        add(f"tz{scale}", f"TIMESTAMP_TZ({scale})", _ZONED, zoned)
        add(f"time{scale}", f"TIME({scale})", pa.time64("ns"), TIMES)
    nines = Decimal("9" * 38)
    add("n38", "NUMBER(38,0)", pa.decimal128(38, 0), [nines, nines.copy_negate(), Decimal(0), Decimal(1), Decimal(-1)])
    add(
        "n38_37",
        "NUMBER(38,37)",
        pa.decimal128(38, 37),
        [Decimal(1).scaleb(-37), Decimal("-9.5"), *map(Decimal, (0, 1, -1))],
    )
    add("n18", "NUMBER(18,4)", pa.int64(), [10**18 - 1, -(10**18) + 1, 0, 1, -1])
    add("n3", "NUMBER(3,0)", pa.int8(), [127, -128, 0, 1, -1])
    add("i64", None, pa.int64(), [2**63 - 1, -(2**63), 0, 1, -1])
    add("f", None, pa.float64(), [float("inf"), float("-inf"), -0.0, 1e308, 5e-324])
    add("b", None, pa.bool_(), [True, False, True, False, True])
    add("d", None, pa.date32(), [datetime.date(1, 1, 1), datetime.date(9999, 12, 31), *[datetime.date(1970, 1, 1)] * 3])
    add("t", "VARCHAR(20)", pa.string(), ["", "é\U0001f9ca", "nul\0", "\\N", "x" * 20])
    add("bin", None, pa.binary(), [b"", b"\x00\xff", b"a", b"b", b"c"])
    add("v", "VARIANT", pa.string(), ["null", '{\n  "a": 1\n}', "[]", "undefined", '"x"'])
    add("o", "OBJECT", pa.string(), ["{}"] * 5)
    add("a", "ARRAY", pa.string(), ["[\n  undefined\n]"] * 5)
    add("geo", "GEOGRAPHY", pa.string(), ['{"type":"Point","coordinates":[1,2]}'] * 5)
    add("geob", "GEOMETRY", pa.binary(), [bytes.fromhex("0101000000000000000000f03f0000000000000040")] * 5)
    add("uuid", "UUID", pa.string(), ["00000000-0000-0000-0000-000000000001"] * 5)
    decfloat = pa.struct([("exponent", pa.int16()), ("significand", pa.binary())])
    add("dec", "DECFLOAT", decfloat, [{"exponent": -3, "significand": b"\x01\x02"}] * 5)
    add("vec", "VECTOR(FLOAT, 3)", pa.list_(pa.float32(), 3), [[1.5, -2.5, 0.0]] * 5)
    add("ym", "INTERVAL_YEAR_MONTH", pa.int32(), [14, -1, 0, 1, 2])
    add("ds", "INTERVAL_DAY_TIME", pa.int64(), [10**18, -1, 0, 1, 2])
    add("odd", "FROBNICATE", pa.string(), ["?"] * 5)
    schema = pa.schema([f for f, _ in columns])
    return pa.Table.from_arrays([a for _, a in columns], schema=schema)
