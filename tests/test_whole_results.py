"""Every row of a result, and a query that is only read: what a session may not change about either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import psycopg
import pytest
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import Sandbox

import snowmelt

ROWS = 2_500
LIMIT = 1_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,500 rows, some inline and the rest in chunks."""
    root = tmp_path_factory.mktemp("data")
    (root / "D" / "PUBLIC").mkdir(parents=True)
    query = f"select i::bigint as ID, 'v' || i as TXT from range({ROWS}) t(i)"
    duckdb.execute(f"copy ({query}) to '{root / 'D' / 'PUBLIC' / 'T.parquet'}' (format parquet)")
    return root


@pytest.fixture
def limited(data: Path) -> Iterator[Sandbox]:
    """An account whose default ends every result after 1,000 rows."""
    options = ("--rows-per-resultset", LIMIT, "--inline-rows", 300, "--chunk-max-rows", 400)
    with Sandbox("--data", data, *options) as sandbox:
        yield sandbox


@pytest.fixture
def server(data: Path) -> Iterator[Sandbox]:
    with Sandbox("--data", data) as sandbox:
        yield sandbox


def keys(sandbox: Sandbox) -> dict:
    return {**sandbox.connection_keys, "database": "D", "schema": "PUBLIC"}


def manager(sandbox: Sandbox, **more: object) -> snowmelt.SnowflakeConnectionManager:
    return snowmelt.SnowflakeConnectionManager(**keys(sandbox), **more)


@pytest.mark.parametrize("table", [{"source": "D.PUBLIC.T"}, {"query": "select id, txt from t where id >= 0", "name": "t"}])
def test_an_accounts_limit_does_not_shorten_a_table(
    table: dict, project: Project, limited: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    project.configure(snowflake=keys(limited), postgres=postgres.uri, tables=[{**table, "target": "public.t", "mode": "replace"}])
    outcome = project.run("run", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.report["tables"][0]["rows"] == ROWS
    assert database.execute("select count(*), sum(id) from t").fetchone() == (ROWS, ROWS * (ROWS - 1) // 2)


@pytest.mark.parametrize("name", ["ROWS_PER_RESULTSET", "rows_per_resultset"])
def test_nobody_may_ask_for_a_limit(name: str, project: Project, limited: Sandbox) -> None:
    parameters = f'[snowflake.session_parameters]\n{name} = "10"'
    project.configure(snowflake=keys(limited), extra=parameters, tables=[{"source": "D.PUBLIC.T"}])
    outcome = project.run("export")
    assert outcome.code == 2, outcome.stderr
    assert "ROWS_PER_RESULTSET" in outcome.stderr and "hint: remove" in outcome.stderr
    assert limited.stats()["sessions_opened"] == 0


def test_a_limit_set_by_a_statement_is_refused_by_name(limited: Sandbox, tmp_path: Path) -> None:
    with manager(limited) as snowflake:
        connection = snowflake.get_connection()
        cursor = connection.cursor()
        cursor.execute("select id from t where id >= 0")
        assert len(cursor.fetchall()) == ROWS
        for statement in ("alter session set ROWS_PER_RESULTSET = 10", "select id from t", "select * from D.PUBLIC.T"):
            with pytest.raises(snowmelt.VerificationError, match="ROWS_PER_RESULTSET is 10") as caught:
                cursor.execute(statement)
            assert caught.value.exit_code == 11
            assert "ROWS_PER_RESULTSET = 0" in str(caught.value)
        with pytest.raises(snowmelt.VerificationError, match="ROWS_PER_RESULTSET is 10"):
            list(snowmelt.SnowflakeDataExtractor(snowflake).extract_table_chunks("D.PUBLIC.T", directory=tmp_path))
        cursor.execute("alter session set ROWS_PER_RESULTSET = 0")
        cursor.execute("select id from t where id >= 0")
        assert len(cursor.fetchall()) == ROWS


CHANGING = [
    ("insert into kept values (2)", "0x3100"),
    ("update kept set x = 7", "0x3200"),
    ("delete from kept", "0x3300"),
    ("create table made (x int)", "0x6000"),
    ("create or replace table kept as select 1 as x", "0x6000"),
    ("drop table kept", "0x6000"),
    ("truncate table kept", "0x6000"),
    ("alter session set QUERY_TAG = 'x'", "0x4000"),
    ("call wipe()", "call runs a procedure"),
    ("-- a comment\n/* and another */ CALL wipe()", "call runs a procedure"),
    ("execute immediate 'delete from kept'", "execute runs a procedure"),
]


@pytest.mark.parametrize(("query", "words"), CHANGING, ids=[words + " " + query[:12] for query, words in CHANGING])
def test_a_query_that_changes_something_is_not_run(query: str, words: str, project: Project) -> None:
    with Sandbox() as server, manager(server) as snowflake:
        cursor = snowflake.get_connection().cursor()
        cursor.execute("create table kept (x int)")
        cursor.execute("insert into kept values (1)")
        project.configure(snowflake=keys(server), tables=[{"query": query, "name": "result"}])
        outcome = project.run("export")
        assert outcome.code == 2, outcome.stderr
        assert words in outcome.stderr and "result" in outcome.stderr and "hint: query takes a SELECT" in outcome.stderr
        cursor.execute("select x from kept")
        assert cursor.fetchall() == [(1,)]
        with pytest.raises(snowmelt.QueryError):
            cursor.execute("select * from made")
    assert project.manifests() == []


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("select id from t where id < 3", 3),
        ("(select id from t where id < 3)", 3),
        ("with few as (select id from t where id < 3) select id, id + 1 as more from few", 3),
        ("select id from t where id < 3 union all select id from t where id = 9", 4),
        ("show tables in schema d.public", 1),
        ("describe table d.public.t", 2),
    ],
)
def test_what_gives_rows_runs_once(query: str, rows: int, project: Project, server: Sandbox) -> None:
    project.configure(snowflake=keys(server), tables=[{"query": query, "name": "result"}])
    outcome = project.run("export", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.report["tables"][0]["rows"] == rows
    assert server.stats()["queries"] == 2  # asked what it is, then run


def test_a_table_needs_no_question(project: Project, server: Sandbox) -> None:
    project.configure(snowflake=keys(server), tables=[{"source": "D.PUBLIC.T"}])
    assert project.run("export").code == 0
    assert server.stats()["queries"] <= 4  # the table, its columns, its comment
