"""Columns as the strings of Snowflake's JSON result format."""

from __future__ import annotations

import json

import pyarrow as pa

from snowmelt_sandbox.sqltypes import UNIT_DIGITS, Column
from snowmelt_sandbox.wire import offset_minutes, one_array, seconds_and_nanos, to_wire


def rows_of(table: pa.Table, columns: tuple[Column, ...]) -> list[list[str | None]]:
    """All rows; every value is a string or None."""
    texts = [_column(one_array(table.column(i)), c) for i, c in enumerate(columns)]
    if texts:
        return [list(row) for row in zip(*texts, strict=True)]
    return []


def _column(array: pa.Array, column: Column) -> list[str | None]:
    scale = column.scale or 0
    kind = column.kind
    if kind in {"TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ"}:
        seconds, nanos = seconds_and_nanos(array, scale)
        texts = [_instant(int(s), int(n), scale) for s, n in zip(seconds, nanos, strict=True)]
        if kind == "TIMESTAMP_TZ":
            texts = [f"{t} {int(z) + 1440}" for t, z in zip(texts, offset_minutes(array), strict=True)]
        return [t if ok else None for t, ok in zip(texts, array.is_valid().to_pylist(), strict=True)]
    if kind == "NUMBER" and pa.types.is_integer(array.type) and scale:
        return [None if v is None else _scaled(v, scale) for v in array.to_pylist()]
    if kind == "NUMBER":
        array = array if pa.types.is_integer(array.type) else array.cast(pa.decimal128(38, scale))
        return [None if v is None else f"{v:f}" if scale else str(int(v)) for v in array.to_pylist()]
    wire = to_wire(array, column, None, UNIT_DIGITS["ns"])
    values = wire.cast(pa.int32()).to_pylist() if kind == "DATE" else wire.to_pylist()
    if kind == "TIME":
        return [None if v is None else _scaled(v, scale) for v in values]
    if kind == "BOOLEAN":
        return [None if v is None else "1" if v else "0" for v in values]
    if kind == "BINARY":
        return [None if v is None else v.hex().upper() for v in values]
    if kind == "FLOAT":
        return [None if v is None else _float(v) for v in values]
    if kind in {"VECTOR", "DECFLOAT"}:
        return [None if v is None else json.dumps(v, default=lambda b: b.hex()) for v in values]
    return [None if v is None else str(v) for v in values]


def _scaled(value: int, scale: int) -> str:
    if not scale:
        return str(value)
    sign, digits = ("-", -value) if value < 0 else ("", value)
    return f"{sign}{digits // 10**scale}.{digits % 10**scale:0{scale}d}"


def _instant(seconds: int, nanos: int, scale: int) -> str:
    return _scaled(seconds * 10**scale + nanos // 10 ** (9 - scale), scale)


def _float(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return repr(value)
