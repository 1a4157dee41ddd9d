"""The Python package: managers, cursors, errors, mocks, Arrow, forks, Ctrl-C."""

from __future__ import annotations

import datetime as dt
import gc
import importlib
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest
from program import ROOT
from python_fixtures import ITEMS, ORDERS, Sales
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import PATIENCE, until

import snowmelt
from snowmelt import PostgresConnectionManager, PostgreSQLDataLoader, SnowflakeConnectionManager, SnowflakeDataExtractor

TABLE = "SALES.PUBLIC.ORDERS"


@pytest.fixture
def snowflake(configured: Path) -> Iterator[SnowflakeConnectionManager]:
    with SnowflakeConnectionManager() as manager:
        yield manager


@pytest.fixture
def pg(configured: Path) -> Iterator[PostgresConnectionManager]:
    with PostgresConnectionManager() as manager:
        yield manager


def python(code: str, *options: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False, **kwargs)


# --- managers


def test_lifecycle(snowflake: SnowflakeConnectionManager, sales: Sales) -> None:
    assert not snowflake.is_alive() and snowflake.logins == 0
    connection = snowflake.get_connection()
    assert snowflake.get_connection() is connection
    assert snowflake.is_alive() and snowflake.logins_by_kind == {"password": 1}
    sales.sandbox.kill_sessions()
    assert not snowflake.is_alive()
    assert snowflake.get_connection() is not connection
    assert snowflake.logins == sales.logins == 2


def test_keys_as_arguments(sales: Sales, postgres: PrivatePostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SnowflakeConnectionManager(**sales.keys, session_parameters={"QUERY_TAG": "x"}) as manager:
        assert manager.get_connection().cursor().execute("select 1").fetchone() == (1,)
    with PostgresConnectionManager(uri=postgres.uri, autocommit=True, connect_timeout=PATIENCE) as manager:
        assert manager.autocommit and manager.get_connection().server_version > 120000


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(snowmelt.ConfigurationError, match='"passwrd"') as caught:
        SnowflakeConnectionManager(account="a", passwrd="secret!")
    assert '"password"' in caught.value.hint and "secret!" not in str(caught.value)
    with pytest.raises(TypeError, match="user must be text"):
        SnowflakeConnectionManager(account="a", user=["x"])


def test_no_secret_in_a_repr(sales: Sales, postgres: PrivatePostgres) -> None:
    uri = f"postgresql://postgres:hunter2@/postgres?host={postgres.socket_directory}"
    objects: list[object] = []
    with SnowflakeConnectionManager(**{**sales.keys, "proxy_password": "hunter2"}) as manager:
        objects += [manager, manager.get_connection(), manager.get_connection().cursor()]
        assert "connected" in repr(manager) and "sandbox" in repr(manager)
    with PostgresConnectionManager(uri=uri) as manager:
        objects += [manager, manager.get_connection(), manager.get_connection().cursor()]
    for thing in objects:
        assert "closed" in repr(thing) or "open" in repr(thing)
        assert "hunter2" not in repr(thing)


def test_exception_inside_with_closes_and_passes_on(configured: Path, sales: Sales, database: psycopg.Connection) -> None:
    with pytest.raises(ZeroDivisionError), SnowflakeConnectionManager() as manager:
        manager.get_connection()
        1 / 0  # noqa: B018
    assert sales.sessions_open == 0
    with pytest.raises(ZeroDivisionError), PostgresConnectionManager() as manager:
        manager.get_connection().cursor().execute("create table t (a int)")
        1 / 0  # noqa: B018
    assert database.execute("select to_regclass('t')").fetchone() == (None,)


def test_use_after_close(snowflake: SnowflakeConnectionManager, pg: PostgresConnectionManager) -> None:
    for manager in (snowflake, pg):
        connection = manager.get_connection()
        cursor = connection.cursor().execute("select 1")
        closed = connection.cursor()
        closed.close()
        closed.close()
        with pytest.raises(snowmelt.UsageError, match="cursor is closed"):
            closed.execute("select 1")
        manager.close()
        manager.close()
        assert connection.closed and manager.closed and not manager.is_alive()
        for call in (
            manager.get_connection, manager.__enter__, connection.cursor, connection.commit, connection.rollback,
            lambda cursor=cursor: cursor.execute("select 1"), cursor.fetchone, cursor.fetchall,
        ):  # fmt: skip
            with pytest.raises(snowmelt.ProgrammingError, match="closed"):
                call()


def test_closing_a_connection_keeps_the_session(snowflake: SnowflakeConnectionManager) -> None:
    with snowflake.get_connection() as connection:
        cursor = connection.cursor()
    assert connection.closed
    with pytest.raises(snowmelt.UsageError):
        cursor.execute("select 1")
    assert snowflake.get_connection().cursor().execute("select 1").fetchall() == [(1,)]
    assert snowflake.logins == 1


def test_a_forgotten_manager_is_closed(configured: Path, sales: Sales) -> None:
    manager = SnowflakeConnectionManager()
    manager.get_connection()
    assert sales.sessions_open == 1
    del manager
    gc.collect()
    assert sales.sessions_open == 0
    done = python("import snowmelt; m = snowmelt.SnowflakeConnectionManager(); m.get_connection(); print(m.logins)")
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert sales.sessions_open == 0, "the end of the process closes"


def test_refused_login(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", "wrong-one")
    with SnowflakeConnectionManager() as manager, pytest.raises(snowmelt.AuthenticationError) as caught:
        manager.get_connection()
    error = caught.value
    assert isinstance(error, snowmelt.OperationalError)
    assert (error.kind, error.exit_code, error.vendor_code) == ("authentication", 3, 390100)
    assert "wrong-one" not in str(error)


def test_postgres_transactions(pg: PostgresConnectionManager, database: psycopg.Connection, caplog: Any) -> None:
    cursor = pg.get_connection().cursor()
    cursor.execute("create table t (a int)")
    assert pg.get_connection().in_transaction
    pg.rollback()
    assert database.execute("select to_regclass('t')").fetchone() == (None,)
    cursor.execute("create table t (a int)")
    pg.commit()
    cursor.executemany("insert into t values ($1)", [[1], [2], [None]])
    assert cursor.rowcount == 3
    pg.close()
    assert database.execute("select count(*) from t").fetchone() == (0,)
    assert [r.name for r in caplog.records if "rolled back" in r.getMessage()] == ["snowmelt"]


# --- cursors


def test_postgres_types(pg: PostgresConnectionManager) -> None:
    cursor = pg.get_connection().cursor()
    cursor.execute(
        "select 1::smallint, 2, 3::bigint, 1.50::numeric(10,2), 0.1::float8, 'é', true, null, date '2024-02-29', "
        "time '12:34:56.5', timestamp '2024-02-29 23:59:59.123456', timestamptz '2024-02-29 12:00:00+00', '\\x00ff'::bytea, "
        "'{\"a\": 1}'::jsonb"
    )
    (row,) = cursor.fetchall()
    stamp = dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)
    assert row == (
        1, 2, 3, Decimal("1.50"), 0.1, "é", True, None, dt.date(2024, 2, 29), dt.time(12, 34, 56, 500_000),
        dt.datetime(2024, 2, 29, 23, 59, 59, 123456), stamp, b"\x00\xff", '{"a": 1}',
    )  # fmt: skip
    assert [type(v) for v in row[:5]] == [int, int, int, Decimal, float]
    assert all(len(column) == 7 for column in cursor.description)
    assert cursor.description[3][:6] == ("numeric", "numeric", None, None, 10, 2)
    assert cursor.description[3][1] == snowmelt.NUMBER != snowmelt.STRING


VALUES = [
    None, True, 42, -(10**30), 1.5, Decimal("0.10"), "it's; drop table t --", "", b"\x00\xff",
    dt.date(2024, 2, 29), dt.time(1, 2, 3), dt.datetime(2024, 2, 29, 1, 2, 3, 4),
]  # fmt: skip
CASTS = ["text", "bool", "int", "numeric", "float8", "numeric", "text", "text", "bytea", "date", "time", "timestamp"]


def test_postgres_parameters_come_back(pg: PostgresConnectionManager) -> None:
    text = ", ".join(f"${i + 1}::{cast}" for i, cast in enumerate(CASTS))
    assert list(pg.get_connection().cursor().execute(f"select {text}", VALUES).fetchone()) == VALUES


def test_snowflake_types(snowflake: SnowflakeConnectionManager) -> None:
    cursor = snowflake.get_connection().cursor()
    cursor.execute(
        "select 1 as i, 2.50::number(10,2) as d, 1.5::float as f, 'é' as t, true as b, null as n, "
        "'2024-02-29'::date as dd, '12:34:56.5'::time as tt"
    )
    assert cursor.fetchone() == (1, Decimal("2.50"), 1.5, "é", True, None, dt.date(2024, 2, 29), dt.time(12, 34, 56, 500_000))
    assert [c[0] for c in cursor.description] == ["I", "D", "F", "T", "B", "N", "DD", "TT"]
    assert cursor.query_id and cursor.rowcount == 1
    assert cursor.execute("select ? as a, ? as b, ? as c", ["it's", None, 5]).fetchone() == ("it's", None, "5")


def test_snowflake_json_forms() -> None:
    from snowmelt._cursors import _SNOWFLAKE as convert

    assert convert["date"]("19782") == dt.date(2024, 2, 29)
    assert convert["date"]("-719162") == dt.date(1, 1, 1)
    assert convert["time"]("45296.123456000") == dt.time(12, 34, 56, 123456)
    assert convert["timestamp_ntz"]("-0.5") == dt.datetime(1969, 12, 31, 23, 59, 59, 500_000)
    assert convert["timestamp_ltz"]("1.000000000") == dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC)
    zoned = convert["timestamp_tz"]("0.000000000 1770")
    assert zoned.isoformat() == "1970-01-01T05:30:00+05:30"
    with pytest.raises(snowmelt.DataError, match="beyond Python's date"):
        convert["date"]("10000000")


def test_fetching(snowflake: SnowflakeConnectionManager) -> None:
    cursor = snowflake.get_connection().cursor().execute(f"select * from {TABLE} order by O_ID")
    assert cursor.rowcount == ORDERS
    assert cursor.fetchone() == (0, "order 0")
    assert cursor.fetchmany() == [(1, "order 1")]
    cursor.arraysize = 3
    assert [r[0] for r in cursor.fetchmany()] == [2, 3, 4]
    assert [r[0] for r in cursor.fetchmany(11_000)] == list(range(5, 11_005))
    assert next(cursor)[0] == 11_005
    rest = cursor.fetchall()
    assert [r[0] for r in rest] == list(range(11_006, ORDERS))
    assert cursor.fetchone() is None and cursor.fetchmany(5) == [] and cursor.fetchall() == [] and list(cursor) == []
    with snowflake.get_connection().cursor() as other:
        assert sum(1 for _ in other.execute(f"select * from {TABLE}")) == ORDERS
    assert other.closed


def test_snowflake_changes(snowflake: SnowflakeConnectionManager) -> None:
    cursor = snowflake.get_connection().cursor()
    cursor.execute("create or replace table SALES.PUBLIC.CHANGES (a int)")
    assert cursor.execute("insert into SALES.PUBLIC.CHANGES values (1), (2)").rowcount == 2
    assert cursor.fetchall() == [(2,)]
    cursor.execute("drop table SALES.PUBLIC.CHANGES")


def test_wrong_uses(snowflake: SnowflakeConnectionManager, pg: PostgresConnectionManager) -> None:
    for manager in (snowflake, pg):
        cursor = manager.get_connection().cursor()
        with pytest.raises(snowmelt.ProgrammingError, match="executed statement"):
            cursor.fetchone()
        with pytest.raises(TypeError, match="a statement is text"):
            cursor.execute(5)
        with pytest.raises(snowmelt.ProgrammingError, match="parameters are a list"):
            cursor.execute("select 1", {"a": 1})
        with pytest.raises(snowmelt.ProgrammingError, match="type object cannot be sent"):
            cursor.execute("select 1", [object()])
    cursor.execute("create table t (a int primary key)")
    with pytest.raises(snowmelt.ProgrammingError, match="no rows"):
        cursor.fetchone()
    cursor.execute("insert into t values (1)")
    pg.commit()
    with pytest.raises(snowmelt.IntegrityError) as caught:
        cursor.execute("insert into t values (1)")
    assert isinstance(caught.value, snowmelt.PostgresError) and caught.value.sqlstate == "23505"
    pg.rollback()
    cursor.execute("select 'infinity'::date")
    with pytest.raises(snowmelt.DataError, match="infinity"):
        cursor.fetchall()


def test_refused_query(snowflake: SnowflakeConnectionManager) -> None:
    with pytest.raises(snowmelt.QueryError) as caught:
        snowflake.get_connection().cursor().execute("select * from SALES.PUBLIC.NOTHING")
    error = caught.value
    assert isinstance(error, snowmelt.ProgrammingError) and isinstance(error, snowmelt.Error)
    assert error.sqlstate and error.query_id and error.vendor_code and "NOTHING" in error.message
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and vars(again) == vars(error) and str(again) == str(error)


def waits_for_a_lock(database: psycopg.Connection) -> bool:
    return database.execute("select exists (select from pg_locks where locktype = 'advisory' and not granted)").fetchone()[0]


def test_two_threads_on_one_cursor(pg: PostgresConnectionManager, database: psycopg.Connection) -> None:
    cursor = pg.get_connection().cursor()
    database.execute("select pg_advisory_lock(1)")
    thread = threading.Thread(target=cursor.execute, args=["select pg_advisory_lock(1)"])
    thread.start()
    until(lambda: waits_for_a_lock(database))
    with pytest.raises(snowmelt.UsageError, match="another thread"):
        cursor.execute("select 1")
    database.execute("select pg_advisory_unlock(1)")
    thread.join()
    assert len(cursor.fetchall()) == 1


def test_the_gil_is_released(pg: PostgresConnectionManager, database: psycopg.Connection) -> None:
    """The statement waits for what another thread of this process does meanwhile."""
    database.execute("select pg_advisory_lock(1)")

    def let_go() -> None:
        until(lambda: waits_for_a_lock(database))
        database.execute("select pg_advisory_unlock(1)")

    thread = threading.Thread(target=let_go)
    thread.start()
    pg.get_connection().cursor().execute("select pg_advisory_lock(1)")
    thread.join()


# --- Arrow


def test_arrow(snowflake: SnowflakeConnectionManager) -> None:
    cursor = snowflake.get_connection().cursor()
    table = cursor.execute(f"select * from {TABLE} order by O_ID").fetch_arrow_table()
    assert table.schema.names == ["O_ID", "O_NAME"] and table.schema.field("O_ID").type == pa.int64()
    assert table.column("O_ID").to_pylist() == list(range(ORDERS))
    batches = list(cursor.execute(f"select * from {TABLE} order by O_ID").fetch_record_batches())
    assert pa.Table.from_batches(batches).equals(table) and len(batches) > 3
    empty = cursor.execute(f"select * from {TABLE} where O_ID < 0").fetch_arrow_table()
    assert empty.num_rows == 0 and empty.schema.names == table.schema.names
    numeric = cursor.execute("select 5::number(5,0) as a").fetch_arrow_table(integers="numeric")
    assert pa.types.is_decimal(numeric.schema.field(0).type)


def test_pycapsule(snowflake: SnowflakeConnectionManager) -> None:
    cursor = snowflake.get_connection().cursor()
    cursor.execute(f"select * from {TABLE}")
    assert duckdb.sql("select count(*), sum(O_ID) from cursor").fetchall() == [(ORDERS, sum(range(ORDERS)))]
    cursor.execute(f"select * from {TABLE}")
    reader = pa.RecordBatchReader.from_stream(cursor)
    first = reader.read_next_batch()
    assert first.num_rows > 0
    del reader  # half-read: the downloads stop, nothing hangs
    cursor.execute(f"select * from {TABLE}")
    assert pa.table(cursor).num_rows == ORDERS


@pytest.mark.parametrize(("module", "call"), [("polars", "DataFrame"), ("pandas", "DataFrame.from_arrow")])
def test_data_frames(snowflake: SnowflakeConnectionManager, module: str, call: str) -> None:
    function: Any = importlib.import_module(module)
    for name in call.split("."):
        function = getattr(function, name)
    assert len(function(snowflake.get_connection().cursor().execute(f"select * from {TABLE}"))) == ORDERS


def lent(taken: Any) -> int:
    """Bytes of our result that `taken` keeps alive: the engine's buffers are counted by the pool that pyarrow reports."""
    gc.collect()
    with_it = pa.total_allocated_bytes()
    taken.clear()
    gc.collect()
    return with_it - pa.total_allocated_bytes()


@pytest.mark.parametrize("module", ["polars", "pandas"])
def test_data_frames_take_numbers_without_a_copy(snowflake: SnowflakeConnectionManager, module: str) -> None:
    """What was copied would be given back to our pool as soon as the stream has ended."""
    cursor = snowflake.get_connection().cursor().execute(f"select O_ID, O_ID + 1 as NEXT from {TABLE}")
    if module == "polars":
        import polars

        taken = [polars.DataFrame(cursor)]
    else:
        import pandas

        arrow = pa.RecordBatchReader.from_stream(cursor).read_all()
        taken = [arrow.to_pandas(types_mapper=pandas.ArrowDtype), arrow]
        del arrow
    assert lent(taken) >= 2 * 8 * ORDERS


def test_duckdb_scans_our_buffers(snowflake: SnowflakeConnectionManager) -> None:
    """DuckDB pulls batch after batch out of the stream while we still own the memory: nothing is gathered before."""
    before = pa.total_allocated_bytes()
    cursor = snowflake.get_connection().cursor().execute(f"select * from {TABLE}")
    peaks = []

    class Watched:
        def __arrow_c_stream__(self, requested: object = None) -> object:  # noqa: ARG002
            reader = pa.RecordBatchReader.from_stream(cursor)

            def batches() -> Iterator[pa.RecordBatch]:
                for batch in reader:
                    peaks.append(pa.total_allocated_bytes() - before)
                    yield batch

            return pa.RecordBatchReader.from_batches(reader.schema, batches()).__arrow_c_stream__()

    watched = Watched()  # noqa: F841  DuckDB finds it by its name
    assert duckdb.sql("select sum(O_ID) from watched").fetchall() == [(sum(range(ORDERS)),)]
    whole = snowflake.get_connection().cursor().execute(f"select * from {TABLE}").fetch_arrow_table().nbytes
    assert len(peaks) > 3
    assert max(peaks) < whole


def test_arrow_after_rows_is_refused(snowflake: SnowflakeConnectionManager) -> None:
    cursor = snowflake.get_connection().cursor().execute(f"select * from {TABLE}")
    cursor.fetchone()
    with pytest.raises(snowmelt.UsageError, match="fetched already"):
        cursor.fetch_arrow_table()
    with pytest.raises(snowmelt.UsageError):
        snowflake.get_connection().cursor().fetch_arrow_table()


def test_a_broken_chunk_is_an_error(snowflake: SnowflakeConnectionManager, sales: Sales) -> None:
    sales.sandbox.fault("chunk", "short", chunk=2, rows=1, times=9)
    cursor = snowflake.get_connection().cursor().execute(f"select * from {TABLE}")
    with pytest.raises(snowmelt.VerificationError):
        cursor.fetch_arrow_table()
    cursor.execute(f"select * from {TABLE}")
    with pytest.raises(snowmelt.VerificationError):
        cursor.fetchall()


# --- extractor, loader, whole tables


def test_export_and_load(snowflake: SnowflakeConnectionManager, pg: PostgresConnectionManager, sales: Sales) -> None:
    extractor = SnowflakeDataExtractor(snowflake)
    size = extractor.estimate_table_size(TABLE)
    assert size.rows == ORDERS and size.bytes
    seen = []
    for part in extractor.extract_table_chunks(TABLE, directory="out", part_size=20_000):
        assert part.exists() and part.parent == Path("out") / TABLE
        seen.append(part)
    assert len(seen) > 1 and sales.logins == 1
    loader = PostgreSQLDataLoader(pg)
    assert loader.load_parquet_to_table(f"out/{TABLE}", "public.orders") == ORDERS
    pg.rollback()
    assert loader.load_parquet_to_table(Path("out") / TABLE, "public.orders", mode="create") == ORDERS
    pg.commit()
    with pytest.raises(snowmelt.PostgresError, match="mode"):
        loader.load_parquet_to_table(f"out/{TABLE}", "public.orders")
    with pytest.raises(snowmelt.ConfigurationError, match="replaced"):
        loader.load_parquet_to_table(f"out/{TABLE}", "public.orders", mode="replaced")


def test_leaving_the_parts_half_way_leaves_no_export(snowflake: SnowflakeConnectionManager) -> None:
    with SnowflakeDataExtractor(snowflake).extract_table_chunks(TABLE, part_size=1) as chunks:
        next(chunks)
    assert not list(Path("export").rglob("manifest.json"))
    assert not list(Path("export").rglob("*.parquet"))
    assert len(list(SnowflakeDataExtractor(snowflake).extract_table_chunks(TABLE))) >= 1


def test_tables_by_dict(snowflake: SnowflakeConnectionManager, pg: PostgresConnectionManager) -> None:
    table = {"query": f"select O_ID from {TABLE} where O_ID < 10", "name": "few", "target": "public.few", "mode": "replace"}
    exported = snowmelt.export_table(table, None, "export", snowflake)
    assert (exported.source, exported.rows, exported.parts) == ("few", 10, 1)
    assert snowmelt.import_table(table, None, "export", pg).rows == 10
    with pytest.raises(snowmelt.ConfigurationError, match="nearest|known key"):
        snowmelt.export_table({"sourc": TABLE}, None, "export", snowflake)
    with pytest.raises(TypeError, match="a table is a dict"):
        snowmelt.export_table(5, None, "export", snowflake)


def test_many_tables(snowflake: SnowflakeConnectionManager, pg: PostgresConnectionManager) -> None:
    tables = [TABLE, "SALES.PUBLIC.NOTHING", "SALES.PUBLIC.ITEMS"]
    report = snowmelt.export_data(tables, None, "export", snowflake)
    assert (report["status"], report["logins"]) == ("failed", 1)
    assert [t["status"] for t in report["tables"]] == ["ok", "failed", "ok"]
    report = snowmelt.import_data([tables[0], tables[2]], None, "export", pg)
    assert report["status"] == "ok" and [t["rows"] for t in report["tables"]] == [ORDERS, ITEMS]


def test_password(snowflake: SnowflakeConnectionManager, pg: PostgresConnectionManager) -> None:
    import hashlib

    import pyarrow.parquet as pq
    import pyarrow.parquet.encryption as pe

    snowmelt.export_table(TABLE, "päss", "export", snowflake)
    for wrong in (None, "pass"):
        with pytest.raises(snowmelt.FileError, match="password"):
            snowmelt.import_table(TABLE, wrong, "export", pg)
        assert snowmelt.import_table  # the manager lives on
    assert snowmelt.import_table(TABLE, "päss", "export", pg).rows == ORDERS
    with pytest.raises(snowmelt.UsageError, match="empty"):
        snowmelt.export_table(TABLE, "", "export", snowflake)

    manifest = json.loads(Path(f"export/{TABLE}/manifest.json").read_text())
    key = hashlib.scrypt("päss".encode(), salt=bytes.fromhex(manifest["salt"]), n=2**15, r=8, p=1, maxmem=2**26, dklen=32)
    properties = pe.create_decryption_properties(footer_key=key)
    rows = sum(
        pq.ParquetFile(f"export/{TABLE}/{part['file']}", decryption_properties=properties).metadata.num_rows
        for part in manifest["parts"]
    )
    assert rows == ORDERS


def test_old_way_loads_and_warns(
    configured: Path, sales: Sales, database: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with SnowflakeDataExtractor() as extractor:
        list(extractor.extract_table_chunks("SALES.PUBLIC.ITEMS"))
    with PostgreSQLDataLoader() as loader:
        assert loader.load_parquet_to_table("export/SALES.PUBLIC.ITEMS", "public.items") == ITEMS
    assert database.execute("select count(*) from items").fetchone() == (ITEMS,), "committed: nobody else could"
    assert sales.sessions_open == 0
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 2 and all(r.name == "snowmelt" for r in warnings)


def test_the_warning_without_logging_goes_to_stderr(configured: Path) -> None:
    done = python("import snowmelt; snowmelt.SnowflakeDataExtractor()")
    assert done.stderr == (
        "WARNING: No connection manager provided - creating new one. \n"
        "Consider passing a connection manager for better performance.\n"
    )


# --- mocks


class MockCursor:
    description = [("A", int), ("B", str), ("C", "fixed", None, None, 10, 2, True), ("D", bool)]
    rowcount = 3

    def __init__(self) -> None:
        self.rows: list[tuple] = []
        self.statements: list[str] = []

    def execute(self, sql: str) -> None:
        self.statements.append(sql)
        self.rows = [(1, "x", Decimal("1.50"), True), (None, None, None, None), (-5, "y", Decimal("-2"), False)]

    def fetchone(self) -> tuple | None:
        return self.rows.pop(0) if self.rows else None


class MockConnection:
    def __init__(self) -> None:
        self.made: list[MockCursor] = []

    def cursor(self) -> MockCursor:
        self.made.append(MockCursor())
        return self.made[-1]


class MockManager:
    def __init__(self, connection: object) -> None:
        self.connection = connection
        self.calls = 0

    def get_connection(self) -> object:
        self.calls += 1
        return self.connection

    def close(self) -> None:
        pass


def test_mock(tmp_path: Path, pg: PostgresConnectionManager) -> None:
    manager = MockManager(MockConnection())
    parts = list(SnowflakeDataExtractor(manager).extract_table_chunks("A.B.C", directory=tmp_path))
    assert manager.calls == 1 and manager.connection.made[0].statements == ["select * from A.B.C"]
    got = duckdb.sql(f"select * from '{parts[0]}'").fetchall()
    assert got == [(1, "x", Decimal("1.50"), True), (None,) * 4, (-5, "y", Decimal("-2.00"), False)]
    assert snowmelt.export_table("A.B.C", None, tmp_path, manager).rows == 3

    # A manager of someone else's may hand out our connections.
    loader = PostgreSQLDataLoader(MockManager(pg.get_connection()))
    assert loader.load_parquet_to_table(tmp_path / "A.B.C", "public.c") == 3
    with pytest.raises(snowmelt.UsageError, match="no PostgreSQL connection"):
        PostgreSQLDataLoader(manager).load_parquet_to_table(tmp_path / "A.B.C", "public.c")


def test_a_mock_that_raises(tmp_path: Path) -> None:
    class Refusing(MockManager):
        def get_connection(self) -> object:
            raise LookupError("no connection today")

    with pytest.raises(LookupError, match="today"):
        SnowflakeDataExtractor(Refusing(None)).extract_table_chunks("A.B.C", directory=tmp_path)

    class Broken(MockCursor):
        def fetchone(self) -> tuple | None:
            raise LookupError("no row today")

    connection = MockConnection()
    connection.cursor = Broken
    with pytest.raises(LookupError, match="no row"):
        list(SnowflakeDataExtractor(MockManager(connection)).extract_table_chunks("A.B.C", directory=tmp_path))


@pytest.mark.parametrize("wrong", [5, "manager", object(), {"get_connection": 1}])
def test_an_object_without_get_connection(wrong: object) -> None:
    for make in (SnowflakeDataExtractor, PostgreSQLDataLoader):
        with pytest.raises(TypeError, match="get_connection"):
            make(wrong)


# --- processes


def test_a_fork_is_told(configured: Path, sales: Sales) -> None:
    code = """
import os, snowmelt
sf, pg = snowmelt.SnowflakeConnectionManager(), snowmelt.PostgresConnectionManager()
cursors = [m.get_connection().cursor() for m in (sf, pg)]
child = os.fork()
if child == 0:
    def say(call):
        try:
            print(call(), flush=True)
        except snowmelt.UsageError as error:
            print(error.code, flush=True)
    say(sf.get_connection)
    say(pg.get_connection)
    for cursor in cursors:
        say(lambda: cursor.execute("select 1"))
    say(lambda: snowmelt.SnowflakeConnectionManager().get_connection())
    say(lambda: snowmelt.PostgresConnectionManager().get_connection().cursor().execute("select 7").fetchone())
    sf.close(), pg.close()
    raise SystemExit
os.waitpid(child, 0)
print([c.execute("select 1 as a").fetchone() for c in cursors])
"""
    done = python(code)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["process.forked"] * 5 + ["(7,)", "[(1,), (1,)]"]
    assert sales.sessions_open == 0


def test_fork_first_is_fine(configured: Path, sales: Sales) -> None:
    code = """
import os, snowmelt
child = os.fork()
with snowmelt.SnowflakeConnectionManager() as manager:
    print(manager.get_connection().cursor().execute("select 1").fetchone(), flush=True)
if child:
    os.waitpid(child, 0)
"""
    done = python(code)
    assert (done.stdout, done.stderr) == ("(1,)\n(1,)\n", "")
    assert sales.sessions_open == 0


INTERRUPTED = """
import sys, snowmelt
manager = snowmelt.{manager}()
{before}
print("ready", flush=True)
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", flush=True)
manager.close()
"""


def interrupt(code: str, begun: Callable[[], object]) -> None:
    """Ctrl-C in the middle of a call that would take an hour ends in KeyboardInterrupt."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        until(begun)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_in_postgres(configured: Path, database: psycopg.Connection) -> None:
    code = INTERRUPTED.format(
        manager="PostgresConnectionManager",
        before="cursor = manager.get_connection().cursor()",
        call="cursor.execute('select pg_sleep(3600)')",
    )
    asleep = "select exists (select from pg_stat_activity where wait_event = 'PgSleep')"
    interrupt(code, lambda: database.execute(asleep).fetchone()[0])
    assert database.execute("select count(*) from pg_stat_activity where query ~ '^select pg_sleep'").fetchone() == (0,)


def test_ctrl_c_in_snowflake(configured: Path, sales: Sales) -> None:
    calls = [
        f"list(snowmelt.SnowflakeDataExtractor(manager).extract_table_chunks('{TABLE}'))",
        f"snowmelt.export_table('{TABLE}', None, 'export', manager)",
        f"manager.get_connection().cursor().execute('select * from {TABLE}').fetch_arrow_table()",
        f"manager.get_connection().cursor().execute('select * from {TABLE}').fetchall()",
    ]
    for call in calls:
        before = "manager.get_connection()"
        sales.sandbox.fault("chunk", "hold", times=-1)
        code = INTERRUPTED.format(manager="SnowflakeConnectionManager", before=before, call=call)
        interrupt(code, lambda: sales.sandbox.faults()[0]["fired"])
        sales.sandbox.clear_faults()
    assert not list(configured.rglob("manifest.json"))


def test_import_is_quick() -> None:
    """What takes time to load is loaded when it is wanted."""
    done = python("import snowmelt, sys; print(*sorted({'pyarrow', 'numpy', 'pandas', 'asyncio', 'ssl'} & set(sys.modules)))")
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr + done.stdout


def test_the_stub_names_what_the_module_has() -> None:
    import ast

    from snowmelt import _snowmelt

    def members(owner: object) -> set[str]:
        return {name for name in vars(owner) if not name.startswith("__")}

    stub = ast.parse((ROOT / "python" / "snowmelt" / "_snowmelt.pyi").read_text())
    written: dict[str, set[str]] = {}
    for node in stub.body:
        if isinstance(node, ast.ClassDef):
            written[node.name] = {item.name for item in node.body if isinstance(item, ast.FunctionDef)} - {"__init__"}
        elif isinstance(node, ast.FunctionDef):
            written[node.name] = set()
        elif isinstance(node, ast.AnnAssign):
            written[node.target.id] = set()
    assert set(written) == members(_snowmelt)
    for name, methods in written.items():
        if methods:
            assert methods == members(getattr(_snowmelt, name)), name


def test_every_public_name_has_a_docstring() -> None:
    assert [
        name for name in snowmelt.__all__ if isinstance(getattr(snowmelt, name), type) and not getattr(snowmelt, name).__doc__
    ] == []


# --- the scripts


def write_tables(directory: Path) -> None:
    text = f'[[table]]\nsource = "{TABLE}"\n[[table]]\nsource = "SALES.PUBLIC.ITEMS"\nmode = "replace"\n'
    (directory / "snowmelt.toml").write_text(text)
    (directory / "snowmelt.toml").chmod(0o600)


@pytest.mark.parametrize("password", [None, "of the files"])
def test_scripts(
    configured: Path, sales: Sales, database: psycopg.Connection, password: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tables(configured)
    if password:
        monkeypatch.setenv("SNOWMELT_PASSWORD", password)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}

    def script(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", f"pipeline.{name}"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)

    done = script("export_data")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "✅ Connected to Snowflake"
    assert sales.logins == 1 and sales.sessions_open == 0
    done = script("import_data")
    assert done.returncode == 0, done.stderr
    assert database.execute("select (select count(*) from orders), (select count(*) from items)").fetchone() == (ORDERS, ITEMS)
    done = script("import_data")
    assert done.returncode == 8 and "error: SALES.PUBLIC.ORDERS: postgres.table_exists" in done.stderr
    monkeypatch.setitem(environment, "SNOWFLAKE_PASSWORD", "wrong")
    done = script("export_data")
    assert (done.returncode, done.stdout) == (3, "") and done.stderr.startswith("error: snowflake.")
