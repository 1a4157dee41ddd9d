"""DB-API 2.0 cursors, and Arrow for those who want it."""

from __future__ import annotations

import builtins
import datetime as dt
import decimal
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from . import _snowmelt, errors
from .errors import UsageError

if TYPE_CHECKING:
    import pyarrow

    from ._connections import BaseConnection

Row = tuple[Any, ...]
Converter = Callable[[str], Any] | None

_BATCH = 10_000  # rows taken from the engine at once, fewer of large ones
_EPOCH = dt.datetime(1970, 1, 1)


class Cursor:
    """A statement and its result, by DB-API 2.0; for one thread at a time."""

    arraysize = 1

    def __init__(self, connection: BaseConnection) -> None:
        self.connection = connection
        self._handle = _snowmelt.CursorHandle(connection._usable())
        self._closed = False
        self._forget()

    def _forget(self) -> None:
        self.description: list[tuple] | None = None
        self.rowcount = -1
        self._converters: tuple[Converter, ...] = ()
        self._rows: list[Row] = []
        self._next = 0
        self._ended = False
        self._executed = False

    def _usable(self) -> None:
        if self._closed:
            raise UsageError("the cursor is closed", code="cursor.closed")
        self.connection._usable()

    def execute(self, operation: str, parameters: Sequence[Any] | None = None) -> Self:
        """Runs one statement; parameters are sent beside the text, never spliced into it."""
        self._usable()
        if not isinstance(operation, str):
            raise TypeError(f"a statement is text, not {type(operation).__name__}")
        values = self._bind(parameters)
        self._forget()
        self._handle.execute(operation, values)
        columns = self._handle.description()
        self.rowcount = self._handle.rowcount()
        if columns:
            self.description = [
                (name, kind, None, length, precision, scale, null) for name, kind, length, precision, scale, null in columns
            ]
            self._converters = tuple(self._converter(column) for column in self.description)
        self._executed = True
        return self

    def executemany(self, operation: str, seq_of_parameters: Iterable[Sequence[Any]]) -> Self:
        """Runs the statement once for each sequence of parameters."""
        changed = 0
        for parameters in seq_of_parameters:
            self.execute(operation, parameters)
            changed += max(self.rowcount, 0)
        self.rowcount = changed
        return self

    def _bind(self, parameters: Sequence[Any] | None) -> list[str | None]:
        if parameters is None:
            return []
        if isinstance(parameters, (str, bytes, Mapping)) or not isinstance(parameters, Iterable):
            raise UsageError(
                f"parameters are a list or tuple, not {type(parameters).__name__}", code="cursor.parameters",
                hint=f"write {self._marks} in the statement and give the values in order",
            )  # fmt: skip
        return [self._parameter(value) for value in parameters]

    def _parameter(self, value: Any) -> str | None:
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float):
            return repr(value) if math.isfinite(value) else "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
        if isinstance(value, (int, decimal.Decimal, dt.date, dt.time)):
            return str(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._bytes_parameter(bytes(value))
        if hasattr(value, "hex") and hasattr(value, "urn"):  # uuid.UUID
            return str(value)
        raise UsageError(
            f"a parameter of type {type(value).__name__} cannot be sent", code="cursor.parameter_type",
            hint="give None, bool, int, float, Decimal, str, bytes, date, time or datetime",
        )  # fmt: skip

    _marks = "?"

    def _bytes_parameter(self, value: bytes) -> str:
        return value.hex()

    def _converter(self, column: tuple) -> Converter:
        raise NotImplementedError

    def _fill(self) -> bool:
        """Takes the next rows from the engine; False at the end."""
        if self._ended:
            return False
        self._rows, self._ended = self._handle.fetch(_BATCH, self._converters)
        self._next = 0
        return bool(self._rows)

    def _fetchable(self) -> None:
        self._usable()
        if not self._executed:
            raise UsageError("fetching needs an executed statement", code="cursor.no_result")
        if self.description is None:
            raise UsageError("the statement gave no rows to fetch", code="cursor.no_rows")

    def fetchone(self) -> Row | None:
        """The next row, or None."""
        self._fetchable()
        if self._next == len(self._rows) and not self._fill():
            return None
        row = self._rows[self._next]
        self._next += 1
        return row

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """The next `size` (or `arraysize`) rows; fewer at the end."""
        self._fetchable()
        wanted = self.arraysize if size is None else size
        rows: list[Row] = []
        while len(rows) < wanted and (self._next < len(self._rows) or self._fill()):
            taken = self._rows[self._next : self._next + wanted - len(rows)]
            self._next += len(taken)
            rows += taken
        return rows

    def fetchall(self) -> list[Row]:
        """All rows that are left."""
        self._fetchable()
        rows = self._rows[self._next :]
        self._next = len(self._rows)
        while self._fill():
            rows += self._rows
            self._next = len(self._rows)
        return rows

    def __iter__(self) -> Iterator[Row]:
        return self

    def __next__(self) -> Row:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    def setinputsizes(self, sizes: Sequence[Any]) -> None:
        """Does nothing, as PEP 249 allows."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Does nothing, as PEP 249 allows."""

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._rows = []
            self._handle.close()

    @property
    def closed(self) -> bool:
        return self._closed

    def __enter__(self) -> Self:
        self._usable()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<snowmelt.{type(self).__name__} {'closed' if self._closed else 'open'}>"


def _checked(wanted: str, convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """A converter whose failures are errors of ours: infinity, dates before the year 1 or after 9999."""

    def converter(text: str) -> Any:
        try:
            return convert(text)
        except (ArithmeticError, builtins.ValueError):
            raise errors.ValueError(
                f"{text!r} is beyond Python's {wanted}", code="cursor.python_range", hint="cast the column to text in the query"
            ) from None

    return converter


# Snowflake's JSON results carry days, seconds and nanoseconds since 1970 where Arrow results have been made ISO text.
def _date(text: str) -> dt.date:
    if "-" in text[1:]:
        return dt.date.fromisoformat(text)
    return (_EPOCH + dt.timedelta(days=int(text))).date()


def _seconds(text: str) -> dt.timedelta:
    seconds, _, fraction = text.partition(".")
    micros = int(fraction[:6].ljust(6, "0"))
    return dt.timedelta(seconds=int(seconds), microseconds=-micros if text.startswith("-") else micros)


def _time(text: str) -> dt.time:
    return dt.time.fromisoformat(text) if ":" in text else (_EPOCH + _seconds(text)).time()


def _timestamp(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text) if ":" in text else _EPOCH + _seconds(text)


def _timestamp_utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text) if ":" in text else (_EPOCH + _seconds(text)).replace(tzinfo=dt.UTC)


def _timestamp_zoned(text: str) -> dt.datetime:
    if ":" in text:
        return dt.datetime.fromisoformat(text)
    seconds, _, offset = text.partition(" ")  # the offset in minutes, counted from -24 hours
    zone = dt.timezone(dt.timedelta(minutes=int(offset or 1440) - 1440))
    return (_EPOCH + _seconds(seconds)).replace(tzinfo=dt.UTC).astimezone(zone)


def _boolean(text: str) -> bool:
    return text in ("t", "true", "1", "TRUE")


_SNOWFLAKE: dict[str, Converter] = {
    "real": float,
    "decfloat": decimal.Decimal,
    "boolean": _boolean,
    "binary": bytes.fromhex,
    "date": _checked("date", _date),
    "time": _checked("time", _time),
    "timestamp_ntz": _checked("datetime", _timestamp),
    "timestamp_ltz": _checked("datetime", _timestamp_utc),
    "timestamp_tz": _checked("datetime", _timestamp_zoned),
}

_POSTGRES: dict[str, Converter] = {
    **dict.fromkeys(("smallint", "integer", "bigint", "oid"), int),
    **dict.fromkeys(("real", "double precision"), float),
    "numeric": decimal.Decimal,
    "boolean": _boolean,
    "bytea": lambda text: bytes.fromhex(text[2:]),
    "date": _checked("date", dt.date.fromisoformat),
    **dict.fromkeys(("time without time zone", "time with time zone"), _checked("time", dt.time.fromisoformat)),
    **dict.fromkeys(("timestamp without time zone", "timestamp with time zone"), _checked("datetime", dt.datetime.fromisoformat)),
}


class PostgresCursor(Cursor):
    """A cursor on PostgreSQL; parameters are $1, $2, …

    >>> with conn_mgr.get_connection().cursor() as cursor:
    ...     cursor.execute("select o_orderkey, o_totalprice from orders where o_custkey = $1", [42])
    ...     for key, price in cursor:
    ...         print(key, price)
    """

    _marks = "$1, $2, …"

    def _bytes_parameter(self, value: bytes) -> str:
        return "\\x" + value.hex()

    def _converter(self, column: tuple) -> Converter:
        return _POSTGRES.get(column[1])


class SnowflakeCursor(Cursor):
    """A cursor on Snowflake; parameters are ?. Its results are Arrow too.

    >>> cursor = conn_mgr.get_connection().cursor()
    >>> cursor.execute("select * from SALES.PUBLIC.ORDERS")
    >>> table = cursor.fetch_arrow_table()      # pyarrow
    >>> frame = polars.DataFrame(cursor)        # polars, DuckDB and pandas 3 take the cursor itself
    """

    def _converter(self, column: tuple) -> Converter:
        if column[1] == "fixed":
            return int if not column[5] else decimal.Decimal
        return _SNOWFLAKE.get(column[1])

    @property
    def query_id(self) -> str | None:
        """Snowflake's id of the last statement."""
        return self._handle.query_id()

    def _reader(self, integers: str, on_subsecond: str, tz_offset: bool) -> _snowmelt.ReaderHandle:
        self._fetchable()
        if self._rows:
            raise UsageError(
                "rows of this result were fetched already", code="cursor.half_read", hint="execute the statement again for Arrow"
            )
        return self._handle.reader(integers, on_subsecond, tz_offset)

    def fetch_record_batches(
        self, *, integers: str = "bigint", on_subsecond: str = "error", tz_offset: bool = False
    ) -> Iterator[pyarrow.RecordBatch]:
        """The result batch by batch, in the server's order; the next ones are downloaded meanwhile.

        The options are those of [[table]]: how NUMBER(p,0) and digits below the microsecond are kept.
        """
        reader = self._reader(integers, on_subsecond, tz_offset)
        return _batches(reader)

    def fetch_arrow_table(
        self, *, integers: str = "bigint", on_subsecond: str = "error", tz_offset: bool = False
    ) -> pyarrow.Table:
        """The whole result as a pyarrow.Table."""
        import pyarrow

        reader = self._reader(integers, on_subsecond, tz_offset)
        schema = pyarrow.Schema._import_from_c_capsule(reader.schema())
        return pyarrow.Table.from_batches(_batches(reader), schema)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The Arrow PyCapsule interface: pandas, polars, DuckDB and pyarrow take the cursor as it is."""
        return self._reader("bigint", "error", False).stream()


def _batches(reader: _snowmelt.ReaderHandle) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow

    while (capsules := reader.next()) is not None:
        yield pyarrow.RecordBatch._import_from_c_capsule(*capsules)


class TypeObject:
    """PEP 249: equal to every type name of its kind in a description, as in ``description[0][1] == snowmelt.NUMBER``."""

    def __init__(self, name: str, *names: str) -> None:
        self._name = name
        self._names = frozenset(names)

    def __eq__(self, other: object) -> bool:
        return other is self or (isinstance(other, str) and other in self._names)

    def __hash__(self) -> int:
        return hash(self._name)

    def __repr__(self) -> str:
        return f"snowmelt.{self._name}"


STRING = TypeObject(
    "STRING", "text", "character varying", "character", "name", "json", "jsonb", "uuid", "variant", "object", "array"
)
BINARY = TypeObject("BINARY", "binary", "bytea")
NUMBER = TypeObject("NUMBER", "fixed", "real", "smallint", "integer", "bigint", "numeric", "double precision")
DATETIME = TypeObject(
    "DATETIME", "date", "time", "timestamp_ntz", "timestamp_ltz", "timestamp_tz", "time without time zone", "time with time zone",
    "timestamp without time zone", "timestamp with time zone",
)  # fmt: skip
ROWID = TypeObject("ROWID", "oid")

Date, Time, Timestamp, Binary = dt.date, dt.time, dt.datetime, bytes
DateFromTicks = dt.date.fromtimestamp
TimestampFromTicks = dt.datetime.fromtimestamp


def TimeFromTicks(ticks: float) -> dt.time:  # noqa: N802: PEP 249's name
    return dt.datetime.fromtimestamp(ticks).time()
