"""Snowflake column types: where they come from and how the protocol spells them.

A table's columns have the natural type of their Parquet column (``column_of_arrow``), unless the Arrow field carries
the metadata key ``snowflake.type``. Then the text there is the type, and the values are stored in one of these forms:

=====================  ==============================================================================================
NUMBER(p,s)            decimal; or any integer holding the *unscaled* value
TIME(s)                time32/time64; or an integer counting 10^-s seconds
TIMESTAMP_NTZ/LTZ(s)   timestamp; struct{seconds:int64, nanos:int32} for any year with nanoseconds;
                       struct{epoch_ns:int64}; or an integer counting 10^-s seconds
TIMESTAMP_TZ(s)        the same structs with one more member offset_minutes:int32; others mean offset 0
DECFLOAT               struct{exponent:int16, significand:binary}, sent as it is
VECTOR(FLOAT|INT,n)    fixed_size_list, sent as it is
GEOGRAPHY, GEOMETRY    string (GeoJSON, WKT) or binary (WKB): rowtype object or binary with extTypeName
UUID                   string: rowtype text with extTypeName
INTERVAL_YEAR_MONTH    integer months, sent as it is; INTERVAL_DAY_TIME: int64 or decimal128 nanoseconds
VARIANT, OBJECT, ..    string, sent as it is; so is every type unknown here, under its own name
=====================  ==============================================================================================

Digits below the scale are cut. Other keys of a field: ``snowflake.quoted`` = ``true`` keeps a lower-case name as it is,
``snowflake.comment``. Of the file's schema: ``snowflake.primary_key`` = ``A,B``, ``snowflake.comment``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

TEXT_LENGTH = 16_777_216
BINARY_LENGTH = 8_388_608

_SYNONYMS = {
    "DECIMAL": "NUMBER", "NUMERIC": "NUMBER", "INT": "NUMBER", "INTEGER": "NUMBER", "BIGINT": "NUMBER",
    "SMALLINT": "NUMBER", "TINYINT": "NUMBER", "BYTEINT": "NUMBER",
    "DOUBLE": "FLOAT", "REAL": "FLOAT", "FLOAT8": "FLOAT",
    "VARCHAR": "TEXT", "STRING": "TEXT", "CHAR": "TEXT",
    "VARBINARY": "BINARY", "DATETIME": "TIMESTAMP_NTZ", "TIMESTAMP": "TIMESTAMP_NTZ",
}  # fmt: skip
_WIRE_NAMES = {"NUMBER": "FIXED", "FLOAT": "REAL"}
_SCALED = {"TIME", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ"}
_TYPE_TEXT = re.compile(r"^\s*([A-Za-z_][\w ]*?)\s*(?:\((.*)\))?\s*$", re.DOTALL)


@dataclass(frozen=True)
class Column:
    """One result or table column as Snowflake describes it. ``kind`` is the SQL name: NUMBER, TEXT, TIMESTAMP_TZ, .."""

    name: str
    kind: str
    precision: int | None = None
    scale: int | None = None
    length: int | None = None
    byte_length: int | None = None
    nullable: bool = True
    extension: str | None = None
    element: str | None = None
    comment: str | None = None

    @property
    def wire_name(self) -> str:
        """Upper-case type name on the wire (``logicalType``); ``rowtype`` has it in lower case."""
        return _WIRE_NAMES.get(self.kind, self.kind)

    @property
    def sql_type(self) -> str:
        """The type as DESCRIBE TABLE prints it."""
        if self.extension:
            return self.extension
        if self.kind == "NUMBER":
            return f"NUMBER({self.precision},{self.scale})"
        if self.kind == "TEXT":
            return f"VARCHAR({self.length})"
        if self.kind == "BINARY":
            return f"BINARY({self.length})"
        if self.kind in _SCALED:
            return f"{self.kind}({self.scale})"
        if self.kind == "VECTOR":
            return f"VECTOR({self.element}, {self.length})"
        return self.kind

    def rowtype(self, database: str = "", schema: str = "", table: str = "") -> dict[str, Any]:
        """The entry of ``data.rowtype``."""
        entry: dict[str, Any] = {
            "name": self.name, "database": database, "schema": schema, "table": table,
            "nullable": self.nullable, "type": self.wire_name.lower(),
            "precision": self.precision, "scale": self.scale,
            "length": None if self.kind == "VECTOR" else self.length,
            "byteLength": self.byte_length, "collation": None, "fields": None,
        }  # fmt: skip
        if self.extension:
            entry["extTypeName"] = self.extension
        if self.kind == "VECTOR":
            inner = "real" if self.element == "FLOAT" else "fixed"
            entry["vectorDimension"] = self.length
            entry["fields"] = [{"name": "", "type": inner, "precision": 38, "scale": 0, "nullable": False}]
        return entry


def fold_name(name: str) -> str:
    """Column names all in lower case are taken for unquoted ones, which Snowflake keeps in upper case."""
    return name.upper() if re.fullmatch(r"[a-z_][a-z0-9_$]*", name) else name


def column_of_field(field: pa.Field) -> Column:
    """The Snowflake column that an Arrow field of a Parquet file stands for."""
    metadata = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
    name = field.name if metadata.get("snowflake.quoted") == "true" else fold_name(field.name)
    comment = metadata.get("snowflake.comment")
    if declared := metadata.get("snowflake.type"):
        return column_of_text(name, declared, field.nullable, storage=field.type, comment=comment)
    return column_of_arrow(name, field.type, field.nullable, comment=comment)


def column_of_text(
    name: str, text: str, nullable: bool = True, storage: pa.DataType | None = None, comment: str | None = None
) -> Column:
    """Parses ``NUMBER(38,0)``, ``TIMESTAMP_TZ(9)``, ``VECTOR(FLOAT,3)``. An unknown name is passed on as it is."""
    match = _TYPE_TEXT.match(text)
    if not match:
        raise ValueError(f"column {name}: cannot read the type {text!r}")
    word = match[1].upper()
    arguments = [a.strip() for a in (match[2] or "").split(",") if a.strip()]
    kind = _SYNONYMS.get(word, word)
    column = dict(name=name, kind=kind, nullable=nullable, comment=comment)
    if kind == "NUMBER":
        precision = int(arguments[0]) if arguments else 38
        return Column(**column, precision=precision, scale=int(arguments[1]) if len(arguments) > 1 else 0)
    if kind in _SCALED:
        return Column(**column, precision=0, scale=int(arguments[0]) if arguments else 9)
    if kind == "TEXT":
        length = int(arguments[0]) if arguments else TEXT_LENGTH
        return Column(**column, length=length, byte_length=min(4 * length, 8 * TEXT_LENGTH))
    if kind == "BINARY":
        length = int(arguments[0]) if arguments else BINARY_LENGTH
        return Column(**column, length=length, byte_length=length)
    if kind in {"GEOGRAPHY", "GEOMETRY"}:
        # The server names these by their output format and tells the real type beside it.
        is_binary = storage is not None and _is_binary(storage)
        column["kind"] = "BINARY" if is_binary else "OBJECT"
        return Column(**column, length=BINARY_LENGTH if is_binary else None, extension=kind)
    if kind == "VECTOR":
        return Column(**column, element=arguments[0].upper(), length=int(arguments[1]))
    if kind in {"INTERVAL_YEAR_MONTH", "INTERVAL_DAY_TIME"}:
        return Column(**column, precision=int(arguments[0]) if arguments else 9, scale=9)
    if kind == "DECFLOAT":
        return Column(**column, precision=38)
    if kind == "UUID":
        return Column(**{**column, "kind": "TEXT"}, length=36, byte_length=144, extension="UUID")
    return Column(**column)


_INTEGER_PRECISION = {
    pa.int8(): 3, pa.int16(): 5, pa.int32(): 10, pa.int64(): 38,
    pa.uint8(): 3, pa.uint16(): 5, pa.uint32(): 10, pa.uint64(): 38,
}  # fmt: skip


def column_of_arrow(name: str, kind: pa.DataType, nullable: bool = True, comment: str | None = None) -> Column:
    """The natural Snowflake type of an Arrow type."""
    column: dict[str, Any] = dict(name=name, nullable=nullable, comment=comment)
    if pa.types.is_dictionary(kind):
        return column_of_arrow(name, kind.value_type, nullable, comment)
    if kind in _INTEGER_PRECISION:
        return Column(**column, kind="NUMBER", precision=_INTEGER_PRECISION[kind], scale=0)
    if pa.types.is_decimal(kind):
        return Column(**column, kind="NUMBER", precision=min(kind.precision, 38), scale=kind.scale)
    if pa.types.is_floating(kind):
        return Column(**column, kind="FLOAT")
    if pa.types.is_boolean(kind):
        return Column(**column, kind="BOOLEAN")
    if pa.types.is_date(kind):
        return Column(**column, kind="DATE")
    if pa.types.is_time(kind):
        return Column(**column, kind="TIME", precision=0, scale=UNIT_DIGITS[kind.unit])
    if pa.types.is_timestamp(kind):
        word = "TIMESTAMP_LTZ" if kind.tz else "TIMESTAMP_NTZ"
        return Column(**column, kind=word, precision=0, scale=UNIT_DIGITS[kind.unit])
    if _is_binary(kind):
        return Column(**column, kind="BINARY", length=BINARY_LENGTH, byte_length=BINARY_LENGTH)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return Column(**column, kind="ARRAY")
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        return Column(**column, kind="OBJECT")
    return Column(**column, kind="TEXT", length=TEXT_LENGTH, byte_length=TEXT_LENGTH)


UNIT_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def _is_binary(kind: pa.DataType) -> bool:
    return (
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind)
    )  # fmt: skip
