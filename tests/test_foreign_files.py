"""Our files in other readers, and theirs in ours: Spark, Snowflake, DuckDB, pandas, polars, pyarrow, arrow-rs."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import arro3.io
import duckdb
import pandas as pd
import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import Sandbox

import snowmelt


def load(file: Path, postgres: PrivatePostgres, mode: str = "replace", **choices: Any) -> int:
    with snowmelt.PostgresConnectionManager(uri=postgres.uri, autocommit=True) as manager:
        return snowmelt.PostgreSQLDataLoader(manager).load_parquet_to_table(file, "public.f", mode=mode, **choices)


def types_of(database: psycopg.Connection, table: str = "f") -> dict[str, str]:
    return dict(
        database.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute where attrelid = %s::regclass and attnum > 0",
            (table,),
        ).fetchall()
    )


EXPORTED = pa.table({
    "ID": pa.array([1, 2**62, None], pa.int64()),
    "MONEY": pa.array([Decimal("0.01"), Decimal("-9999999999.99"), None], pa.decimal128(12, 2)),
    "WIDE": pa.array([Decimal(10**37), Decimal(-1), None], pa.decimal128(38, 0)),
    "NAME": ["", "é", None],
    "AT": pa.array([0, -1, None], pa.timestamp("us")),
    "WHEN": pa.array([0, -1, None], pa.timestamp("us", "UTC")),
    "CLOCK": pa.array([0, 86_399_999_999, None], pa.time64("us")),
    "DAY": pa.array([0, -719_162, None], pa.date32()),
    "BYTES": pa.array([b"", b"\0\xff", None], pa.binary()),
    "FLAG": [True, False, None],
    "REAL": [0.1, -1e300, None],
})  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exported")
    data = directory / "data" / "D" / "PUBLIC"
    data.mkdir(parents=True)
    pq.write_table(EXPORTED, data / "T.parquet")
    project = Project(directory)
    with Sandbox("--data", directory / "data") as server:
        table = {"source": "D.PUBLIC.T", "integers": "numeric", "target": "public.t"}
        project.configure(snowflake=server.connection_keys, tables=[table])
        outcome = project.run("export", "--json")
    assert outcome.code == 0, outcome.stderr
    (part,) = project.export.rglob("*.parquet")
    return part


def read_by(reader: str, file: Path) -> pa.Table:
    if reader == "pyarrow":
        return pq.read_table(file)
    if reader == "duckdb":
        result = duckdb.sql(f"from '{file}'").arrow()
        return result if isinstance(result, pa.Table) else result.read_all()
    if reader == "polars":
        return pl.read_parquet(file).to_arrow()
    if reader == "pandas":
        return pa.Table.from_pandas(pd.read_parquet(file, dtype_backend="pyarrow"), preserve_index=False)
    return pa.table(arro3.io.read_parquet(str(file)))  # arrow-rs


@pytest.mark.parametrize("reader", ["pyarrow", "duckdb", "polars", "pandas", "arrow-rs"])
def test_our_files_in_other_readers(reader: str, exported: Path) -> None:
    read = read_by(reader, exported)
    assert read.column_names == EXPORTED.column_names
    for name in read.column_names:
        assert read.column(name).to_pylist() == EXPORTED.column(name).to_pylist(), (reader, name)


def test_the_source_type_is_in_the_file(exported: Path) -> None:
    metadata = pq.read_metadata(exported).metadata
    assert b'"source_type":"NUMBER(12,2)"' in metadata[b"snowmelt.columns"]


@pytest.mark.parametrize("spark", [False, True])
def test_int96_reaches_every_year(spark: bool, tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    moments = [dt.datetime(1, 1, 1, 0, 0, 0, 1), dt.datetime(1600, 2, 29), None, dt.datetime(9999, 12, 31, 23, 59, 59, 999999)]
    table = pa.table({"t": pa.array(moments, pa.timestamp("us")), "n": range(4)})
    with pq.ParquetWriter(
        tmp_path / "t.parquet", table.schema, use_deprecated_int96_timestamps=True, store_schema=False
    ) as writer:
        writer.write_table(table)
        if spark:
            writer.add_key_value_metadata({"org.apache.spark.version": "3.5.1"})
    load(tmp_path / "t.parquet", postgres)
    assert types_of(database)["t"] == ("timestamp with time zone" if spark else "timestamp without time zone")
    assert [
        row[0]
        for row in database.execute("select t at time zone 'UTC' from f order by n" if spark else "select t from f order by n")
    ] == moments


def test_sparks_legacy_calendar_is_refused_where_it_differs(
    tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    days = [dt.date(1582, 10, 15), None, dt.date(2024, 2, 29), dt.date(1582, 10, 4)]
    for rows, good in ((3, True), (4, False)):
        table = pa.table({"d": pa.array(days[:rows], pa.date32())})
        with pq.ParquetWriter(tmp_path / "t.parquet", table.schema) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({"org.apache.spark.version": "2.4.8", "org.apache.spark.legacyDateTime": ""})
        if good:
            assert load(tmp_path / "t.parquet", postgres) == 3
            continue
        with pytest.raises(snowmelt.ValueError, match="legacy calendar") as caught:
            load(tmp_path / "t.parquet", postgres)
        assert "column d, row 4" in str(caught.value)


def test_int96_below_the_microsecond_is_refused(tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    stamps = pa.array([0, None, 1_500], pa.timestamp("ns"))
    pq.write_table(pa.table({"t": stamps}), tmp_path / "t.parquet", use_deprecated_int96_timestamps=True)
    with pytest.raises(snowmelt.ValueError, match="below the microsecond") as caught:
        load(tmp_path / "t.parquet", postgres)
    assert "column t, row 3" in str(caught.value)


def test_every_unit_and_unsigned_and_half(tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    table = pa.table({
        **{f"ts_{u}": pa.array([1_000_000_000, -1_000_000_000], pa.timestamp(u)) for u in ("s", "ms", "us", "ns")},
        **{f"tz_{u}": pa.array([1_000_000_000, -1_000_000_000], pa.timestamp(u, "UTC")) for u in ("s", "ms", "us", "ns")},
        "t_ms": pa.array([0, 86_399_999], pa.time32("ms")), "t_ns": pa.array([0, 86_399_999_999_000], pa.time64("ns")),
        "u8": pa.array([0, 255], pa.uint8()), "u16": pa.array([0, 65_535], pa.uint16()),
        "u32": pa.array([0, 2**32 - 1], pa.uint32()), "u64": pa.array([0, 2**64 - 1], pa.uint64()),
        "half": pa.array([1.5, 65504.0], pa.float16()), "large": pa.array(["a", "b"], pa.large_string()),
        "fixed": pa.array([b"abc", b"def"], pa.binary(3)), "list": pa.array([[1, None], []], pa.list_(pa.int16())),
        "d76": pa.array([Decimal(10**75), Decimal(-1)], pa.decimal256(76, 0)),
        "d_small": pa.array([Decimal("0.5"), None], pa.decimal128(3, 1)),
        "span": pa.array([93_784_000_005, -1], pa.duration("us")),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    load(tmp_path / "t.parquet", postgres)
    database.execute("set timezone = 'UTC'")
    with database.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        first, second = cursor.execute("select * from f order by u8").fetchall()
    for unit, digits in (("s", 0), ("ms", 3), ("us", 6), ("ns", 9)):
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=10**15 // 10**digits)
        assert first[f"ts_{unit}"] == moment
        assert first[f"tz_{unit}"] == moment.replace(tzinfo=dt.UTC)
    assert (second["t_ms"], second["t_ns"]) == (dt.time(23, 59, 59, 999000), dt.time(23, 59, 59, 999999))
    assert [second[c] for c in ("u8", "u16", "u32", "u64")] == [255, 65_535, 2**32 - 1, 2**64 - 1]
    assert (first["half"], second["half"], second["large"], second["fixed"]) == (1.5, 65504.0, "b", b"def")
    assert (first["list"], second["list"], first["d76"], first["d_small"]) == ([1, None], [], Decimal(10**75), Decimal("0.5"))
    assert first["span"] == dt.timedelta(microseconds=93_784_000_005)


def test_nanoseconds_follow_on_subsecond(tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    table = pa.table(
        {
            "n": [0, 1, 2],
            "t": pa.array([1_500, -1_500, 2_000], pa.timestamp("ns")),
            "c": pa.array([999, 2_500, None], pa.time64("ns")),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(snowmelt.ValueError, match="on_subsecond") as caught:
        load(tmp_path / "t.parquet", postgres)
    assert "column t, row 1" in str(caught.value)
    assert "likewise column c, row 1" in str(caught.value)

    def micros(mode: str) -> list[tuple]:
        load(tmp_path / "t.parquet", postgres, on_subsecond=mode)
        query = "select (extract(epoch from t) * 1e6)::int, extract(microseconds from c)::int from f order by n"
        return database.execute(query).fetchall()

    assert micros("truncate") == [(1, 0), (-2, 2), (2, None)]
    assert micros("round") == [(2, 1), (-2, 2), (2, None)]


def test_logical_types_of_duckdb(tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    file = tmp_path / "t.parquet"
    duckdb.sql(
        "copy (select 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid as u, '{\"a\": 1}'::json as j, 'b'::enum('a', 'b') as e,"
        " interval '14 months 3 days 5 seconds' as i, 12345678901234567890123456789012345678::decimal(38, 0) as d,"
        " {'x': [1, 2]} as s, map {'k': 1.5} as m, 'blob'::blob as b, '12:34:56.789'::time as t,"
        " 18446744073709551615::ubigint as ub)"
        f" to '{file}' (format parquet)"
    )
    load(file, postgres)
    types = types_of(database)
    assert [types[c] for c in "ujeisb"] == ["uuid", "jsonb", "text", "interval", "jsonb", "bytea"]
    row = database.execute("select u::text, j, e, i::text, d, s, m, b, t, ub from f").fetchone()
    assert row == (
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", {"a": 1}, "b", "1 year 2 mons 3 days 00:00:05",
        12345678901234567890123456789012345678, {"x": [1, 2]}, {"k": 1.5}, b"blob", dt.time(12, 34, 56, 789000), 2**64 - 1,
    )  # fmt: skip


def test_an_unload_whose_files_differ_in_width(
    tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection, capfd: pytest.CaptureFixture
) -> None:
    """Snowflake's COPY INTO @stage takes a number's width from each file's data, and VARIANT as text."""
    files = [
        {"N": pa.array([1], pa.int8()), "D": pa.array([Decimal("1.5")], pa.decimal128(3, 1)),
         "T": pa.array([0], pa.timestamp("ms"))},
        {"N": pa.array([2**40], pa.int64()), "D": pa.array([Decimal("12345678901.25")], pa.decimal128(13, 2)),
         "T": pa.array([1], pa.timestamp("us"))},
        {"N": pa.array([Decimal(10**30)], pa.decimal128(31, 0)), "D": pa.array([None], pa.decimal128(1, 0)),
         "T": pa.array([None], pa.timestamp("us"))},
    ]  # fmt: skip
    for number, columns in enumerate(files):
        order = reversed(columns) if number == 1 else columns
        pq.write_table(pa.table({name: columns[name] for name in order}), tmp_path / f"data_0_{number}_0.snappy.parquet")
    assert load(tmp_path, postgres) == 3
    assert types_of(database) == {"n": "numeric(31,0)", "d": "numeric(13,2)", "t": "timestamp without time zone"}
    assert database.execute("select n, d, t from f order by n").fetchall() == [
        (1, Decimal("1.50"), dt.datetime(1970, 1, 1)), (2**40, Decimal("12345678901.25"), dt.datetime(1970, 1, 1, 0, 0, 0, 1)),
        (10**30, None, None),
    ]  # fmt: skip
    pq.write_table(pa.table({"N": ["text"], "D": files[0]["D"], "T": files[0]["T"]}), tmp_path / "data_9.parquet")
    with pytest.raises(snowmelt.FileError, match="types do not go with") as caught:
        load(tmp_path, postgres)
    assert "data_9.parquet" in str(caught.value)


def test_arrow_rs_writes_what_we_read(tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    arro3.io.write_parquet(EXPORTED, str(tmp_path / "t.parquet"))
    load(tmp_path / "t.parquet", postgres)
    got = database.execute("select id, money, wide, name, at, clock, day, bytes, flag, real from f order by id").fetchall()
    columns = ("ID", "MONEY", "WIDE", "NAME", "AT", "CLOCK", "DAY", "BYTES", "FLAG", "REAL")
    assert got == list(zip(*(EXPORTED.column(c).to_pylist() for c in columns), strict=True))


def test_numeric_of_every_precision_and_scale(tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    pairs = [(p, s) for p in range(1, 39) for s in range(p + 1)]
    database.prepare_threshold = None  # the table is another one each time
    for begin in range(0, len(pairs), 60):
        columns = {}
        for precision, scale in pairs[begin : begin + 60]:
            most = 10**precision - 1
            values = [most, -most, 0, 10 ** (precision // 2), most // 10, 7]
            columns[f"n{precision}_{scale}"] = pa.array(
                [Decimal((v < 0, tuple(map(int, str(abs(v)))), -scale)) for v in values], pa.decimal128(precision, scale)
            )
        table = pa.table({"i": range(6), **columns})
        pq.write_table(table, tmp_path / "t.parquet", store_decimal_as_integer=begin % 120 == 0)
        load(tmp_path / "t.parquet", postgres)
        got = database.execute("select * from f order by i").fetchall()
        for number, name in enumerate(table.column_names):
            assert [row[number] for row in got] == table.column(name).to_pylist(), name
        types = types_of(database)
        assert all(types[f"n{p}_{s}"] == f"numeric({p},{s})" for p, s in pairs[begin : begin + 60])
        database.execute("drop table f")


@contextlib.contextmanager
def stand_ins_for_extensions(database: psycopg.Connection) -> Iterator[None]:
    """Types that take vectors and geometries on the wire as bytes: what arrives is what the extension would be given."""
    for name, typmod in (("vector", ", typmod_in = stub.typmodin, typmod_out = stub.typmodout"), ("geometry", "")):
        database.execute("create schema if not exists stub")
        database.execute(
            "create or replace function stub.typmodin(cstring[]) returns int language internal immutable strict as 'bittypmodin'"
        )
        database.execute(
            "create or replace function stub.typmodout(int) returns cstring language internal immutable strict as 'bittypmodout'"
        )
        database.execute(f"drop type if exists public.{name} cascade; create type public.{name}")
        for function, argument, result, internal in (
            ("in", "cstring", f"public.{name}", "byteain"), ("out", f"public.{name}", "cstring", "byteaout"),
            ("recv", "internal", f"public.{name}", "bytearecv"), ("send", f"public.{name}", "bytea", "byteasend"),
        ):  # fmt: skip
            database.execute(
                f"create or replace function stub.{name}_{function}({argument}) returns {result}"
                f" language internal immutable strict as '{internal}'"
            )
        database.execute(
            f"create type public.{name} (input = stub.{name}_in, output = stub.{name}_out, receive = stub.{name}_recv,"
            f" send = stub.{name}_send, internallength = variable{typmod})"
        )
    try:
        yield
    finally:
        database.execute(
            "drop table if exists f; drop type public.vector cascade; drop type public.geometry cascade; drop schema stub cascade"
        )


def test_extension_types(tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    with stand_ins_for_extensions(database):
        data = tmp_path / "data" / "D" / "PUBLIC"
        data.mkdir(parents=True)
        schema = pa.schema([
            pa.field("V", pa.list_(pa.float32(), 2), metadata={"snowflake.type": "VECTOR(FLOAT, 2)"}),
            pa.field("G", pa.binary(), metadata={"snowflake.type": "GEOMETRY"}),
        ])  # fmt: skip
        pq.write_table(
            pa.table([pa.array([[1.5, -0.0], None], schema[0].type), pa.array([b"\1\2", None])], schema=schema),
            data / "T.parquet",
        )
        project = Project(tmp_path)
        with Sandbox("--data", tmp_path / "data") as server:
            project.configure(
                snowflake=server.connection_keys, postgres=postgres.uri, tables=[{"source": "D.PUBLIC.T", "target": "public.f"}]
            )
            outcome = project.run("run", "--json")
        assert outcome.code == 0, outcome.stderr
        assert types_of(database) == {"v": "vector(2)", "g": "geometry"}
        assert database.execute("select stub.vector_send(v), stub.geometry_send(g) from f where v is not null").fetchone() == (
            bytes.fromhex("000200003fc0000080000000"), b"\1\2",
        )  # fmt: skip
        # Elements that a vector does not take.
        pq.write_table(pa.table({"v": pa.array([[1.0], [0.5, 0.5]], pa.list_(pa.float32()))}), tmp_path / "t.parquet")
        with pytest.raises(snowmelt.ValueError, match="the list has 1 elements"):
            load(tmp_path / "t.parquet", postgres, mode="append")


def with_columns_key(file: Path, key: object, table: pa.Table) -> Path:
    """A file whose key snowmelt.columns says `key`."""
    text = key if isinstance(key, str) else json.dumps(key)
    with pq.ParquetWriter(file, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"snowmelt.columns": text})
    return file


# Runs as the loading role, and stays when a transaction of its own commits it.
PROOF = (
    "(pg_catalog.query_to_xml('select pg_catalog.lo_from_bytea(4242, ''owned''::pg_catalog.bytea)', true, true, '') is not null)"
)


CRAFTED = (
    f"VECTOR(FLOAT,3) check {PROOF}",
    f"VECTOR(FLOAT,3) default {PROOF}",
    "VECTOR(FLOAT,3), x text",
    "VECTOR(FLOAT,16001)",
    f"TEXT check {PROOF}",
    "NUMBER(4,0) primary key",
)


@pytest.mark.parametrize("source_type", CRAFTED)
def test_a_files_own_words_do_not_run(
    source_type: str, tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    table = pa.table({"V": pa.array([[1.0, 2.0, 3.0]], pa.list_(pa.float32()))})
    columns = [{"name": "V", "source_type": source_type, "nullable": True}]
    with stand_ins_for_extensions(database):
        database.execute("drop table if exists f")
        file = with_columns_key(tmp_path / "crafted.parquet", columns, table)
        with pytest.raises(snowmelt.FileError) as caught:
            load(file, postgres, mode="create")
        assert caught.value.code == "parquet.bad_columns"
        assert all(part in str(caught.value) for part in ("crafted.parquet", "column V", "hint: export the table again")), str(
            caught.value
        )
        assert database.execute("select to_regclass('public.f')").fetchone() == (None,)
        assert database.execute("select count(*) from pg_largeobject_metadata where oid = 4242").fetchone() == (0,)
        # What snowmelt writes is read.
        columns[0]["source_type"] = "VECTOR(FLOAT,3)"
        assert load(with_columns_key(file, columns, table), postgres, mode="create") == 1
        assert types_of(database) == {"v": "vector(3)"}


@pytest.mark.parametrize(
    "key", ["hello", "null", "{}", "[1]", '"V"', '[{"name": "V"}]', '[{"name": 1, "source_type": "TEXT", "nullable": true}]']
)
def test_a_key_of_another_writer_is_refused(key: str, tmp_path: Path, postgres: PrivatePostgres) -> None:
    file = with_columns_key(tmp_path / "strange.parquet", key, pa.table({"V": ["x"]}))
    with pytest.raises(snowmelt.FileError, match=r"(?s)strange\.parquet.*snowmelt\.columns.*without that key"):
        load(file, postgres)


@pytest.mark.parametrize("choice", [f"text check {PROOF}", "text); drop table f; --", "text default now()", 'text collate "C"'])
def test_a_users_types_are_types(choice: str, tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    database.execute("drop table if exists f; create table f (kept int)")
    pq.write_table(pa.table({"V": ["x"]}), tmp_path / "t.parquet")
    with pytest.raises(snowmelt.ConfigurationError, match="is not a PostgreSQL type"):
        load(tmp_path / "t.parquet", postgres, types={"V": choice})
    assert types_of(database) == {"kept": "integer"}
    assert database.execute("select count(*) from pg_largeobject_metadata where oid = 4242").fetchone() == (0,)
    database.execute("drop table f")
    assert load(tmp_path / "t.parquet", postgres, types={"V": " Varchar ( 3 )"}) == 1
    assert types_of(database) == {"v": "character varying(3)"}
    database.execute("drop table f")


def test_rows_wider_than_a_page(tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    """The planner's arithmetic is the server's: one column less is a row, one more is refused before the table is made."""

    def numbers(count: int) -> Path:
        schema = pa.schema([pa.field(f"c{i}", pa.int64(), nullable=False) for i in range(count)])
        pq.write_table(pa.table([pa.array([1], pa.int64())] * count, schema=schema), tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    database.execute("drop table if exists f")
    assert load(numbers(1017), postgres, mode="create") == 1
    database.execute("drop table f")
    database.execute(f"create table f ({', '.join(f'c{i} bigint not null' for i in range(1018))})")
    with pytest.raises(snowmelt.PostgresError, match=r"(?s)row is too big.*hint: .*narrower"):
        load(numbers(1018), postgres, mode="append")
    database.execute("drop table f")
    with pytest.raises(snowmelt.ValueError, match=r"(?s)smallest possible row takes 8168 bytes.*1018 columns"):
        load(numbers(1018), postgres, mode="create")
    assert database.execute("select to_regclass('public.f')").fetchone() == (None,)


def beyond(kind: pa.DataType, value: int) -> pa.Array:
    """A value that its type has no room for, as damaged bytes give it."""
    return pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(value.to_bytes(kind.bit_width // 8, "little", signed=True))])


@pytest.mark.parametrize("shape", ["plain", "list", "struct", "list of structs"])
@pytest.mark.parametrize(
    "values",
    [beyond(pa.time64("us"), -1), beyond(pa.time64("ns"), 86_400 * 10**9 + 1), beyond(pa.time32("ms"), 86_400_001),
     beyond(pa.date32(), 2**31 - 1), beyond(pa.timestamp("ms"), 2**62), beyond(pa.decimal128(5, 2), 654_321),
     beyond(pa.decimal128(38, 2), -(2**127)), beyond(pa.decimal32(5, 2), 654_321), beyond(pa.decimal64(12, 2), 10**15)],
    ids=lambda values: str(values.type),
)  # fmt: skip
def test_values_beyond_their_type_are_refused_at_any_depth(
    values: pa.Array, shape: str, postgres: PrivatePostgres, database: psycopg.Connection, tmp_path: Path
) -> None:
    inside = pa.StructArray.from_arrays([values], ["x"]) if "struct" in shape else values
    column = pa.ListArray.from_arrays([0, 1], inside) if "list" in shape else inside
    pq.write_table(pa.table({"c": column}), tmp_path / "f.parquet")
    with pytest.raises((snowmelt.ValueError, snowmelt.PostgresError)) as caught:
        load(tmp_path / "f.parquet", postgres)
    assert "column c" in caught.value.where
    assert database.execute("select count(*) from pg_class where relname = 'f'").fetchone() == (0,)
