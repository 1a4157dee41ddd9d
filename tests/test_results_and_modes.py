"""Every kind of result Snowflake answers with, from the query to the rows in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import psycopg
import pytest
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import Sandbox

from demo.demo import source_content, target_content


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    directory = tmp_path / "data" / "D" / "PUBLIC"
    directory.mkdir(parents=True)
    return directory


def make(schema: Path, name: str, query: str) -> Path:
    duckdb.execute(f"copy ({query}) to '{schema / name}.parquet' (format parquet)")
    return schema / f"{name}.parquet"


def configure(project: Project, sandbox: Sandbox, postgres: PrivatePostgres, *tables: dict) -> None:
    keys = {**sandbox.connection_keys, "database": "D", "schema": "PUBLIC"}
    project.configure(snowflake=keys, postgres=postgres.uri, tables=list(tables))


def run(project: Project, *arguments: str) -> dict:
    outcome = project.run("run", "--json", *arguments)
    assert outcome.code == 0, outcome.stderr
    return outcome.report


@pytest.mark.parametrize(
    "options", [(), ("--no-inline",), ("--inline-rows", 3, "--chunk-max-rows", 7), ("--chunk-rows", "1,2,500")]
)
def test_first_rows_and_chunks_in_every_mixture(
    options: tuple, project: Project, schema: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    file = make(schema, "T", "select i::bigint as ID, 'v' || i as TXT from range(100) t(i)")
    with Sandbox("--data", schema.parents[1], *options) as sandbox:
        configure(project, sandbox, postgres, {"source": "D.PUBLIC.T"})
        assert run(project)["tables"][0]["rows"] == 100
    assert target_content(postgres, "t") == source_content(file)


@pytest.mark.parametrize("batch_rows", [1, 3, 1000])
def test_chunks_of_one_batch_or_many(
    batch_rows: int, project: Project, schema: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    file = make(schema, "T", "select i::bigint as ID, i % 7 = 0 as FLAG from range(500) t(i)")
    with Sandbox("--data", schema.parents[1], "--no-inline", "--chunk-max-rows", 50, "--batch-rows", batch_rows) as sandbox:
        configure(project, sandbox, postgres, {"source": "D.PUBLIC.T"})
        run(project)
    assert target_content(postgres, "t") == source_content(file)


@pytest.mark.parametrize("width", ["result", "chunk"])
def test_widths_of_the_whole_result_or_of_each_chunk(
    width: str, project: Project, schema: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    file = make(schema, "T", "select i::bigint as ID, (i * i * i)::decimal(38,0) as CUBE, (i / 100)::decimal(20,2) as CENTS "
                             "from range(5000) t(i)")  # fmt: skip
    with Sandbox("--data", schema.parents[1], "--int-width", width, "--chunk-max-rows", 100) as sandbox:
        configure(project, sandbox, postgres, {"source": "D.PUBLIC.T"})
        run(project)
    assert target_content(postgres, "t") == source_content(file)


@pytest.fixture
def sandbox(schema: Path) -> Sandbox:
    make(schema, "EMPTY", "select 1::bigint as ID, 'x' as TXT, 1.5::decimal(10,2) as N, date '2024-01-01' as D where false")
    make(schema, "T", "select i::bigint as ID, 'v' || i as TXT from range(100) t(i)")
    make(schema, "WIDE", "select " + ", ".join(f"(i * {k})::bigint as C{k}" for k in range(300)) + " from range(1000) t(i)")
    return Sandbox("--data", schema.parents[1], "--chunk-max-rows", 150)


def test_an_empty_table_is_a_table(
    project: Project, sandbox: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    with sandbox:
        configure(project, sandbox, postgres, {"source": "D.PUBLIC.EMPTY", "mode": "replace"})
        assert run(project)["tables"][0]["rows"] == 0
        assert run(project)["tables"][0]["rows"] == 0
    columns = database.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'empty'::regclass and attnum > 0 "
        "order by attnum"
    ).fetchall()
    assert columns == [("id", "bigint"), ("txt", "text"), ("n", "numeric(10,2)"), ("d", "date")]
    assert database.execute("select count(*) from empty").fetchone() == (0,)


def test_three_hundred_columns(
    project: Project, sandbox: Sandbox, schema: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    with sandbox:
        configure(project, sandbox, postgres, {"source": "D.PUBLIC.WIDE"})
        run(project)
    sums = ", ".join(f"sum(c{k})" for k in range(300))
    wanted = duckdb.execute(f"select count(*), {sums} from '{schema / 'WIDE.parquet'}'").fetchone()
    assert database.execute(f"select count(*), {sums} from wide").fetchone() == wanted


def test_a_query_is_a_source(project: Project, sandbox: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    with sandbox:
        query = "select id, id * 2 as \"Twice\", upper(txt) as big from t where id < 5 order by id -- 'five'"
        configure(project, sandbox, postgres, {"query": query, "name": "firsts", "target": "public.firsts"})
        run(project)
    assert database.execute('select id, "Twice", big from firsts order by id').fetchall() == [
        (i, 2 * i, f"V{i}") for i in range(5)
    ]


def test_show_answers_in_json(
    project: Project, sandbox: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    """SHOW has no Arrow form: its rows come as JSON text, with the same types at the end."""
    with sandbox:
        configure(
            project, sandbox, postgres, {"query": "show tables in schema d.public", "name": "catalog", "target": "public.catalog"}
        )
        run(project)
    assert database.execute("select name from catalog order by name").fetchall() == [("EMPTY",), ("T",), ("WIDE",)]


def test_a_statement_that_takes_minutes_is_polled(
    project: Project, schema: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    """The server answers "still running" and is asked again, as for a query of minutes (here: held 0.3 s a time)."""
    make(schema, "T", "select i::bigint as ID from range(100) t(i)")
    with Sandbox("--data", schema.parents[1], "--async-after", 0.3) as sandbox:
        query = "select id, system$wait(3) as waited from t"
        configure(project, sandbox, postgres, {"query": query, "name": "slow", "target": "public.slow"})
        assert run(project)["logins"] == 1
        assert sandbox.stats()["async_polls"] >= 2
    assert database.execute("select count(*), sum(id) from slow").fetchone() == (100, 4950)


def test_modes_from_the_command_line(
    project: Project, sandbox: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection, schema: Path
) -> None:
    """Each mode twice: the repeat rules, seen by the people who read the table."""

    def rows() -> int:
        return database.execute("select count(*) from t").fetchone()[0]

    with sandbox:
        table: dict = {"source": "D.PUBLIC.T"}
        for mode, code, expected in [
            ("truncate", 8, None), ("append", 8, None), ("create", 0, 100), ("create", 8, 100), ("append", 0, 200),
            ("truncate", 0, 100), ("append", 0, 200), ("replace", 0, 100), ("replace", 0, 100),
        ]:  # fmt: skip
            configure(project, sandbox, postgres, {**table, "mode": mode})
            outcome = project.run("run", "--json")
            assert outcome.code == code, (mode, outcome.stderr)
            assert outcome.report["tables"][0]["status"] == ("ok" if code == 0 else "failed")
            if expected is None:
                assert database.execute("select to_regclass('t')").fetchone()[0] is None
            else:
                assert rows() == expected, mode

        configure(project, sandbox, postgres, {**table, "mode": "append"})
        assert project.run("export").code == 0
        assert project.run("import").code == 0
        assert rows() == 200
        again = project.run("import")
        assert (again.code, rows()) == (0, 200), again.stderr
        assert "already" in again.stderr + again.stdout


def test_replace_keeps_what_people_built_on_the_table(
    project: Project, sandbox: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    database.execute("drop role if exists reader_of_t")
    with sandbox:
        configure(project, sandbox, postgres, {"source": "D.PUBLIC.T", "mode": "replace"})
        run(project)
        database.execute("create role reader_of_t")
        for statement in [
            "create index t_txt on t (txt)",
            "alter table t add primary key (id)",
            "comment on table t is 'orders of the day'",
            "comment on column t.txt is 'as typed'",
            "grant select on t to reader_of_t",
            "alter table t owner to reader_of_t",
            "create view seen as select id, txt from t where id > 90",
            "insert into t values (-1, 'stale')",
        ]:
            database.execute(statement)
        run(project)
        assert database.execute("select count(*), min(id) from t").fetchone() == (100, 0)
        assert database.execute("select count(*) from seen").fetchone() == (9,)
        owner, comment, acl = database.execute(
            "select relowner::regrole::text, obj_description(oid), relacl::text from pg_class where oid = 't'::regclass"
        ).fetchone()
        assert (owner, comment) == ("reader_of_t", "orders of the day")
        assert "reader_of_t=" in acl
        assert database.execute("select col_description('t'::regclass, 2)").fetchone() == ("as typed",)
        names = {row[0] for row in database.execute("select indexname from pg_indexes where tablename = 't'").fetchall()}
        assert names == {"t_txt", "t_pkey"}
    database.execute("drop owned by reader_of_t cascade")
    database.execute("drop role reader_of_t")


@pytest.mark.parametrize("jobs", ["1", "2", "8"])
def test_jobs(
    jobs: str, project: Project, postgres: PrivatePostgres, tpch: Callable[[float], Path], database: psycopg.Connection
) -> None:
    data = tpch(0.02)
    names = ["region", "nation", "supplier", "customer", "part"]
    with Sandbox("--data", data, "--chunk-max-rows", 500) as server:
        project.configure(
            snowflake=server.connection_keys,
            postgres=postgres.uri,
            tables=[{"source": f"TPCH.PUBLIC.{n.upper()}"} for n in names],
        )
        assert run(project, "--jobs", jobs)["logins"] == 1
    for name in names:
        assert target_content(postgres, name) == source_content(data / "TPCH" / "PUBLIC" / f"{name.upper()}.parquet")
