"""Arrow arrays as stored (Parquet, DuckDB) to arrays as Snowflake puts them on the wire.

One function a type, all vectorised: a whole-table read of millions of rows passes through here. The physical forms
(narrowest integers of unscaled numbers, integer or struct timestamps, and so on) are what client bugs hide in, so they
follow the real server and not what would be easiest to emit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from snowmelt_sandbox.sqltypes import UNIT_DIGITS, Column

_WIDTHS = ((pa.int8(), 8), (pa.int16(), 16), (pa.int32(), 32), (pa.int64(), 64))
_TIME_INT32_MAX_SCALE = 4
_TZ_TWO_FIELD_MAX_SCALE = 3


def narrowest(low: int, high: int) -> pa.DataType | None:
    """The narrowest signed integer that holds both ends; None when 64 bits are not enough."""
    for kind, bits in _WIDTHS:
        if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1):
            return kind
    return None


@dataclass(frozen=True)
class WirePlan:
    """Choices that hold for a whole result. ``numbers``: the carrier by column index; absent means chosen per chunk."""

    columns: tuple[Column, ...]
    numbers: dict[int, pa.DataType]
    struct_from_scale: int

    def encode(self, table: pa.Table) -> pa.RecordBatch:
        """All rows of ``table`` as one record batch in wire form."""
        arrays, fields = [], []
        for index, column in enumerate(self.columns):
            source = one_array(table.column(index))
            array = to_wire(source, column, self.numbers.get(index), self.struct_from_scale)
            arrays.append(array)
            fields.append(pa.field(column.name, array.type, column.nullable, field_metadata(column, array.type)))
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def one_array(chunked: pa.ChunkedArray) -> pa.Array:
    """A column as one array, without a copy where it is one already."""
    if chunked.num_chunks == 1:
        return chunked.chunk(0)
    return pa.concat_arrays(chunked.chunks) if chunked.num_chunks else pa.array([], chunked.type)


def field_metadata(column: Column, kind: pa.DataType) -> dict[str, str]:
    """The strings that drivers read from each field."""
    byte_length = column.byte_length or 0
    if column.kind == "TIMESTAMP_TZ":
        byte_length = 8 if kind.num_fields == 2 else 16
    elif pa.types.is_integer(kind):
        byte_length = kind.bit_width // 8
    return {
        "logicalType": column.wire_name,
        "precision": str(38 if column.precision is None else column.precision),
        "scale": str(column.scale or 0),
        "charLength": str(column.length or 0),
        "byteLength": str(byte_length),
        "finalType": "T",
    }


def to_wire(array: pa.Array, column: Column, carrier: pa.DataType | None, struct_from_scale: int) -> pa.Array:
    """One column. ``carrier`` is the type fixed for a NUMBER beforehand, None to choose from these values."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = column.kind
    if kind == "NUMBER":
        return _number(array, column.scale or 0, carrier)
    if kind == "TIME":
        return _time(array, column.scale or 0)
    if kind in {"TIMESTAMP_NTZ", "TIMESTAMP_LTZ"}:
        return _timestamp(array, column.scale or 0, struct_from_scale)
    if kind == "TIMESTAMP_TZ":
        return _timestamp_tz(array, column.scale or 0)
    if kind == "FLOAT":
        return array.cast(pa.float64())
    if kind == "BOOLEAN":
        return array.cast(pa.bool_())
    if kind == "DATE":
        return array.cast(pa.date32())
    if kind == "BINARY":
        return array.cast(pa.binary())
    if kind in {"DECFLOAT", "VECTOR", "INTERVAL_YEAR_MONTH", "INTERVAL_DAY_TIME"}:
        return array
    return _text(array)


def _text(array: pa.Array) -> pa.Array:
    if pa.types.is_nested(array.type):
        values = [None if v is None else json.dumps(v, default=str) for v in array.to_pylist()]
        return pa.array(values, pa.string())
    if pa.types.is_interval(array.type):
        return pa.array([None if v is None else str(v) for v in array.to_pylist()], pa.string())
    return array.cast(pa.string())


def nulls(array: pa.Array) -> np.ndarray | None:
    """A boolean mask, or None when there is no null (the common case costs nothing)."""
    return array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None


def _integers(array: pa.Array) -> np.ndarray:
    """Values as int64, nulls as 0."""
    if array.null_count:
        array = pc.fill_null(array, pa.scalar(0, array.type))
    return array.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)


def decimal_words(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Low and high 64-bit words of each decimal128, nulls as 0."""
    words = np.frombuffer(array.buffers()[1], dtype=np.int64)[2 * array.offset : 2 * (array.offset + len(array))]
    low, high = words[0::2], words[1::2]
    if (mask := nulls(array)) is not None:
        low, high = np.where(mask, 0, low), np.where(mask, 0, high)
    return low, high


def unscaled(array: pa.Array, scale: int) -> tuple[np.ndarray | None, pa.Array | None]:
    """A NUMBER's unscaled values as int64; where they do not fit, None and the decimal128(38, scale) array instead."""
    if pa.types.is_uint64(array.type):
        array = array.cast(pa.decimal128(20, 0))
    if pa.types.is_integer(array.type):
        return _integers(array), None
    decimal = array.cast(pa.decimal128(38, scale))
    if not len(decimal):
        return np.zeros(0, np.int64), None
    low, high = decimal_words(decimal)
    return (low, None) if bool((high == (low >> 63)).all()) else (None, decimal)


def _number(array: pa.Array, scale: int, carrier: pa.DataType | None) -> pa.Array:
    values, decimal = unscaled(array, scale)
    if values is None:
        return decimal
    if carrier is not None and pa.types.is_decimal(carrier):
        return _decimal_of(array, values, scale)
    if carrier is None:
        carrier = narrowest(int(values.min()), int(values.max())) if len(values) else pa.int8()
    return pa.array(values.astype(carrier.to_pandas_dtype()), mask=nulls(array))


def _decimal_of(array: pa.Array, values: np.ndarray, scale: int) -> pa.Array:
    """Unscaled int64 values as decimal128(38, scale)."""
    words = np.empty((len(values), 2), np.int64)
    words[:, 0], words[:, 1] = values, values >> 63
    validity = None if not array.null_count else pa.array(~nulls(array)).buffers()[1]
    return pa.Array.from_buffers(pa.decimal128(38, scale), len(values), [validity, pa.py_buffer(words)])


def _time(array: pa.Array, scale: int) -> pa.Array:
    if pa.types.is_time(array.type):
        digits = UNIT_DIGITS[array.type.unit]
        values = _integers(array.cast(pa.int32() if pa.types.is_time32(array.type) else pa.int64()))
        values = values * 10 ** (scale - digits) if scale >= digits else values // 10 ** (digits - scale)
    else:
        values = _integers(array)
    kind = np.int32 if scale <= _TIME_INT32_MAX_SCALE else np.int64
    return pa.array(values.astype(kind), mask=nulls(array))


def seconds_and_nanos(array: pa.Array, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """An instant as whole seconds (floored) and nanoseconds 0..999999999, from any storage form; nulls as 0."""
    if pa.types.is_struct(array.type):
        names = {f.name: i for i, f in enumerate(array.type)}
        if "epoch_ns" in names:
            values = _integers(_child(array, names["epoch_ns"]))
            return values // 10**9, values % 10**9
        return _integers(_child(array, names["seconds"])), _integers(_child(array, names["nanos"]))
    digits = UNIT_DIGITS[array.type.unit] if pa.types.is_timestamp(array.type) else scale
    values = _integers(array.cast(pa.int64()))
    per_second = 10**digits
    return values // per_second, (values % per_second) * 10 ** (9 - digits)


def _child(array: pa.Array, index: int) -> pa.Array:
    """A struct's child with the struct's nulls pushed down: a child under a null is unspecified."""
    return array.flatten()[index]


def _struct(array: pa.Array, children: Sequence[tuple[str, np.ndarray, Any]]) -> pa.Array:
    arrays = [pa.array(values.astype(kind)) for _, values, kind in children]
    fields = [pa.field(name, child.type) for (name, _, _), child in zip(children, arrays, strict=True)]
    mask = nulls(array)
    return pa.StructArray.from_arrays(arrays, fields=fields, mask=None if mask is None else pa.array(mask))


def _timestamp(array: pa.Array, scale: int, struct_from_scale: int) -> pa.Array:
    seconds, nanos = seconds_and_nanos(array, scale)
    if scale < struct_from_scale:
        return pa.array(seconds * 10**scale + nanos // 10 ** (9 - scale), mask=nulls(array))
    nanos = nanos - nanos % 10 ** (9 - scale)
    return _struct(array, [("epoch", seconds, np.int64), ("fraction", nanos, np.int32)])


def offset_minutes(array: pa.Array) -> np.ndarray:
    """The stored UTC offset; 0 where the storage has none."""
    if pa.types.is_struct(array.type):
        index = array.type.get_field_index("offset_minutes")
        if index >= 0:
            return _integers(_child(array, index))
    return np.zeros(len(array), np.int64)


def _timestamp_tz(array: pa.Array, scale: int) -> pa.Array:
    seconds, nanos = seconds_and_nanos(array, scale)
    zone = offset_minutes(array) + 1440
    if scale <= _TZ_TWO_FIELD_MAX_SCALE:
        epoch = seconds * 10**scale + nanos // 10 ** (9 - scale)
        return _struct(array, [("epoch", epoch, np.int64), ("timezone", zone, np.int32)])
    nanos = nanos - nanos % 10 ** (9 - scale)
    return _struct(array, [("epoch", seconds, np.int64), ("fraction", nanos, np.int32), ("timezone", zone, np.int32)])


def number_carriers(columns: Sequence[Column], ranges: dict[int, tuple[int, int] | None]) -> dict[int, pa.DataType]:
    """The carrier of each NUMBER for a whole result, from the range of its unscaled values (None: no value at all)."""
    carriers = {}
    for index, column in enumerate(columns):
        if column.kind == "NUMBER":
            span = ranges.get(index)
            carriers[index] = (narrowest(*span) if span else pa.int8()) or pa.decimal128(38, column.scale or 0)
    return carriers


def number_range(array: pa.ChunkedArray, scale: int) -> tuple[int, int] | None:
    """Smallest and largest unscaled value, None for no value."""
    if pa.types.is_integer(array.type):
        span = pc.min_max(array).as_py()
        return None if span["min"] is None else (span["min"], span["max"])
    span = pc.min_max(array.cast(pa.decimal128(38, scale))).as_py()
    if span["min"] is None:
        return None
    return unscale(span["min"], scale), unscale(span["max"], scale)


def unscale(value: Any, scale: int) -> int:
    """A Decimal's unscaled integer, exact for all 38 digits."""
    sign, digits, exponent = value.as_tuple()
    magnitude = int("".join(map(str, digits)) or "0") * 10 ** (exponent + scale)
    return -int(magnitude) if sign else int(magnitude)
