"""Every Snowflake type with its edge values, 300 columns, quoted and colliding names: equal cell by cell, or refused by name."""

from __future__ import annotations

import datetime as dt
import json
import struct
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import Outcome, Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import Sandbox

ROWS = 8
EPOCH = dt.datetime(1970, 1, 1)
ZONED = pa.struct([("seconds", pa.int64()), ("nanos", pa.int32()), ("offset_minutes", pa.int32())])
PLAIN = pa.struct([("seconds", pa.int64()), ("nanos", pa.int32())])
OFFSETS = [0, -720, -210, -30, 345, 840, 60]
# Years 1 to 9999 and both sides of every border on the way.
MOMENTS = [
    dt.datetime(1, 1, 1), dt.datetime(1582, 10, 4, 23, 59, 59, 999999), dt.datetime(1677, 9, 21, 0, 12, 43, 145224),
    dt.datetime(1969, 12, 31, 23, 59, 59, 999999), dt.datetime(1970, 1, 1), dt.datetime(2262, 4, 11, 23, 47, 16, 854776),
    dt.datetime(9999, 12, 31, 23, 59, 59, 999999),
]  # fmt: skip
GEOMETRY = struct.pack("<BIIdd", 1, 0x20000001, 4326, 0.1, -1e-300)


@dataclass
class Column:
    """Stored values (the last row is always NULL), the declared type, and what PostgreSQL must show as text."""

    name: str
    stored: list[Any]
    shown: list[Any]
    arrow: pa.DataType
    declared: str | None = None
    quoted: bool = False
    pg_type: str | None = None

    def folded(self) -> str:
        return self.name if self.quoted else self.name.lower()

    def field(self) -> pa.Field:
        metadata = {"snowflake.type": self.declared} if self.declared else {}
        return pa.field(self.name, self.arrow, metadata={**metadata, **({"snowflake.quoted": "true"} if self.quoted else {})})


@dataclass
class Table:
    columns: list[Column] = field(default_factory=list)

    def add(self, name: str, arrow: pa.DataType, stored: list, shown: list | None = None, **more: Any) -> None:
        fill = [stored[i % len(stored)] for i in range(ROWS - 1)] + [None]
        texts = [(shown or stored)[i % len(stored)] for i in range(ROWS - 1)] + [None]
        self.columns.append(Column(name, fill, [None if t is None else str(t) for t in texts], arrow, **more))

    def write(self, data: Path) -> None:
        (data / "D" / "PUBLIC").mkdir(parents=True)
        arrays = [pa.array(c.stored, c.arrow) for c in self.columns]
        schema = pa.schema([c.field() for c in self.columns])
        numbered = pa.table([pa.array(range(ROWS)), *arrays], schema=schema.insert(0, pa.field("ROW_NUMBER", pa.int64())))
        pq.write_table(numbered, data / "D" / "PUBLIC" / "T.parquet", coerce_timestamps=None)


def parts(moment: dt.datetime, scale: int) -> tuple[int, int]:
    """Seconds and nanoseconds, digits below the scale cut (and below the microsecond: PostgreSQL has none)."""
    since = moment - EPOCH
    return since.days * 86_400 + since.seconds, since.microseconds * 1000 // 10 ** (9 - scale) * 10 ** (9 - scale)


def moment_text(seconds: int, nanos: int) -> str:
    moment = EPOCH + dt.timedelta(seconds=seconds, microseconds=nanos // 1000)
    text = f"{moment.year:04}-{moment:%m-%d %H:%M:%S}"
    return text + (f".{moment.microsecond:06}".rstrip("0") if moment.microsecond else "")


def add_numbers(table: Table) -> None:
    for precision, scale in [
        (1, 0),
        (4, 0),
        (9, 0),
        (18, 0),
        (38, 0),
        (9, 9),
        (12, 2),
        (18, 6),
        (19, 3),
        (38, 1),
        (38, 19),
        (38, 37),
    ]:
        most = 10**precision - 1
        whole = precision == 38 and scale == 0
        values = [0, 1, -1, most, -most, 10 ** (precision // 2), 5_000_000_000_000_001 % 10**precision]
        if whole:
            values = [0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1, 10**18]  # bigint by default
        decimals = [Decimal((v < 0, tuple(map(int, str(abs(v)))), -scale)) for v in values]
        shown = [f"{d:f}" for d in decimals]
        shown = [s.lstrip("-") if Decimal(s) == 0 else s for s in shown]
        table.add(f"N_{precision}_{scale}", pa.decimal128(38, scale), decimals, shown, declared=f"NUMBER({precision},{scale})")


def add_times(table: Table) -> None:
    for scale in range(10):
        kept = 10 ** max(0, 9 - scale)
        nanos = [n * 1000 // kept * kept for n in (0, 1, 86_399_999_999, 45_296_789_012, 999_999, 43_200_000_000)]
        shown = [moment_text(n // 10**9, n % 10**9).split(" ")[1] for n in nanos]
        table.add(f"TIME_{scale}", pa.time64("ns"), nanos, shown, declared=f"TIME({scale})")
        stored = [parts(m, scale) for m in MOMENTS]
        for kind, suffix in [("NTZ", ""), ("LTZ", "+00"), ("TZ", "+00")]:
            rows = [{"seconds": s, "nanos": n} for s, n in stored]
            if kind == "TZ":
                rows = [{**row, "offset_minutes": OFFSETS[i]} for i, row in enumerate(rows)]
            table.add(
                f"{kind}_{scale}", ZONED if kind == "TZ" else PLAIN, rows, [moment_text(s, n) + suffix for s, n in stored],
                declared=f"TIMESTAMP_{kind}({scale})",
            )  # fmt: skip


def add_the_rest(table: Table) -> None:
    texts = ["", " ", "trailing  ", "\\N", "\\.", "a\r\nb\t\"'", "漢字 👩‍👩‍👧 \uffff\U0010ffff"]
    table.add("TEXT", pa.string(), texts)
    table.add("LONG_TEXT", pa.string(), ["x" * 100_000, "é" * 50_000], ["x" * 100_000, "é" * 50_000])
    doubles = [0.1, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan")]
    table.add("FLOAT", pa.float64(), doubles,
              ["0.1", "-0", "5e-324", "1.7976931348623157e+308", "Infinity", "-Infinity", "NaN"])  # fmt: skip
    table.add("BOOLEAN", pa.bool_(), [True, False], ["true", "false"])
    days = [m.date() for m in MOMENTS]
    table.add("DATE", pa.date32(), days, [f"{d.year:04}-{d:%m-%d}" for d in days])
    blobs = [b"", b"\0", bytes(range(256)), b"0123456789abcdef", GEOMETRY]
    table.add("BINARY", pa.binary(), blobs, ["\\x" + b.hex() for b in blobs])
    for kind in ("VARIANT", "OBJECT", "ARRAY", "MAP"):
        values = ["null", "{}", "[]", '"text"', "12345678901234567890123456789012345678", '{"b": [1, null, {"c": 1.50}]}', "true"]
        table.add(kind, pa.string(), values, declared=kind)
    table.add("GEO_TEXT", pa.string(), ['{"coordinates":[0.1,2],"type":"Point"}'], declared="GEOGRAPHY")
    table.add("GEO_BYTES", pa.binary(), [GEOMETRY], ["\\x" + GEOMETRY.hex()], declared="GEOMETRY")
    vectors = [[1.5, -0.0, 3.4028234663852886e38], [0.1, 1e-45, 0.0]]
    table.add("VECTOR_F", pa.list_(pa.float32(), 3), vectors, ["{1.5,-0,3.4028235e+38}", "{0.1,1e-45,0}"],
              declared="VECTOR(FLOAT, 3)")  # fmt: skip
    table.add(
        "VECTOR_I", pa.list_(pa.int32(), 2), [[2**31 - 1, -(2**31)]], ["{2147483647,-2147483648}"], declared="VECTOR(INT, 2)"
    )
    table.add("UUID", pa.string(), ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000"],
              declared="UUID", pg_type="uuid")  # fmt: skip
    table.add("INTERVAL_YM", pa.int64(), [0, 14, -14, 119_999_999_988],
              ["00:00:00", "1 year 2 mons", "-1 years -2 mons", None], declared="INTERVAL_YEAR_MONTH")  # fmt: skip
    table.columns[-1].stored[3] = table.columns[-1].stored[7] = None
    table.add("INTERVAL_DT", pa.int64(), [0, 93_784_000_005_000, -93_784_000_005_000],
              ["00:00:00", "1 day 02:03:04.000005", "-1 days -02:03:04.000005"], declared="INTERVAL_DAY_TIME")  # fmt: skip
    decfloat = pa.struct([("exponent", pa.int16()), ("significand", pa.binary())])
    big = (10**38 - 1).to_bytes(16, "big", signed=True)
    numbers = [(-2, b"\x7b"), (40, b"\xff"), (-37, big)]
    table.add("DECFLOAT", decfloat, [{"exponent": e, "significand": s} for e, s in numbers],
              ["1.23", "-1" + "0" * 40, "9." + "9" * 37], declared="DECFLOAT")  # fmt: skip


def torture() -> Table:
    table = Table()
    add_numbers(table)
    add_times(table)
    add_the_rest(table)
    for name in ("select", "Mixed Case", 'quo"te', "ünï", "a.b", " spaces ", "x$y"):
        table.add(name, pa.string(), ["named"], quoted=True)
    for number in range(300 - len(table.columns) - 1):
        table.add(f"FILL_{number}", pa.int16(), [number])
    return table


def run(project: Project, data: Path, postgres: PrivatePostgres, *options: Any, **keys: Any) -> Outcome:
    lines = "".join(
        f"{key} = {value if isinstance(value, str) and value[0] in '{[' else json.dumps(value)}\n" for key, value in keys.items()
    )
    with Sandbox("--data", data, *options) as server:
        project.configure(
            snowflake=server.connection_keys, postgres=postgres.uri,
            extra=f'[[table]]\nsource = "D.PUBLIC.T"\ntarget = "public.t"\n{lines}',
        )  # fmt: skip
        return project.run("run", "--json")


@pytest.mark.parametrize("options", [(), ("--chunk-max-rows", 3, "--int-width", "chunk")])
def test_every_cell_is_equal(options: tuple, project: Project, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    table = torture()
    table.write(project.directory / "data")
    outcome = run(project, project.directory / "data", postgres, *options, tz_offset=True)
    assert outcome.code == 0, outcome.stderr
    with database.cursor() as cursor:
        cursor.execute("set timezone = 'UTC'; set datestyle = 'ISO'; set extra_float_digits = 1")
        for column in table.columns:
            cursor.execute(f'select "{column.folded().replace(chr(34), 2 * chr(34))}"::text from t order by row_number')
            got = [row[0] for row in cursor.fetchall()]
            if column.declared in ("VARIANT", "OBJECT", "ARRAY", "MAP"):
                assert [g and json.loads(g) for g in got] == [s and json.loads(s) for s in column.shown], column.name
            else:
                assert got == column.shown, column.name
        for scale in range(10):
            cursor.execute(f"select tz_{scale}_tz_offset from t order by row_number")
            assert [row[0] for row in cursor.fetchall()] == [*OFFSETS, None]
        cursor.execute("select pg_typeof(uuid)::text, pg_typeof(n_4_0)::text, pg_typeof(interval_dt)::text from t limit 1")
        assert cursor.fetchone() == ("uuid", "smallint", "interval")


def test_names_and_types_that_cannot_be_are_all_named(
    project: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    table = torture()
    long = "L" * 70
    table.add("n_4_0", pa.string(), ["x"], quoted=True)
    table.add("CTID", pa.string(), ["x"])
    table.add(long, pa.string(), ["x"])
    table.add("HOLOGRAM", pa.string(), ["x"], declared="HOLOGRAM")
    table.add("TELEPATHY", pa.string(), ["x"], declared="TELEPATHY")
    table.write(project.directory / "data")
    outcome = run(project, project.directory / "data", postgres)
    assert outcome.code == 7
    for said in (
        "HOLOGRAM",
        "TELEPATHY",
        "two columns are called n_4_0",
        "ctid",
        f"{long.lower()} is longer",
        "drop",
        "rename = {",
    ):
        assert said in outcome.stderr, outcome.stderr
    assert not list(project.export.rglob("*.parquet"))
    # What the message says to paste is enough.
    line = next(line for line in outcome.stderr.splitlines() if "rename = {" in line)
    rename = line[line.index("rename = ") + len("rename = ") : line.index(" }", line.index("rename = ")) + 2]
    outcome = run(project, project.directory / "data", postgres, rename=rename, drop='["HOLOGRAM", "TELEPATHY"]')
    assert outcome.code == 0, outcome.stderr
    assert database.execute("select n_4_0_2, ctid_ from t where row_number = 0").fetchone() == ("x", "x")


def test_values_that_cannot_be_are_named_in_every_column(
    project: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    table = torture()
    nanos = [{"seconds": 0, "nanos": 1}]
    for name in ("FINE_A", "FINE_B"):
        table.add(name, PLAIN, nanos, ["1970-01-01 00:00:00"], declared="TIMESTAMP_NTZ(9)")
    table.add("HUGE", pa.decimal128(38, 0), [Decimal(2**63)])
    table.write(project.directory / "data")
    outcome = run(project, project.directory / "data", postgres)
    assert outcome.code == 7
    for said in ("column FINE_A, row ", "column FINE_B, row ", "column HUGE, row ", "on_subsecond", "integers"):
        assert said in outcome.stderr, outcome.stderr
    outcome = run(project, project.directory / "data", postgres, on_subsecond="truncate", integers="numeric")
    assert outcome.code == 0, outcome.stderr
    assert outcome.report["tables"][0]["policies"] == {"on_subsecond": 2 * (ROWS - 1)}
    assert database.execute("select huge, fine_a::text from t where row_number = 0").fetchone() == (2**63, "1970-01-01 00:00:00")


def test_text_that_cannot_be_is_named_in_every_column(
    project: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    table = Table()
    for name in ("FIRST", "SECOND"):
        table.add(name, pa.string(), ["a\0b"])
    table.add("DOCUMENT", pa.string(), ['{"a": "x\\u0000y\\\\u0000"}'], declared="VARIANT")
    table.write(project.directory / "data")
    outcome = run(project, project.directory / "data", postgres)
    assert outcome.code == 7
    for said in ("column first, row 1", "column second, row 1", "column document, row 1", "on_nul"):
        assert said in outcome.stderr, outcome.stderr
    assert "a\0b" not in outcome.stderr
    outcome = run(project, project.directory / "data", postgres, on_nul="replace")
    assert outcome.code == 0, outcome.stderr
    assert database.execute("select first, document from t where row_number = 0").fetchone() == (
        "a\ufffdb", {"a": "x\ufffdy\\u0000"},
    )  # fmt: skip
