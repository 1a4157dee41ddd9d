"""What new tables get besides columns (NOT NULL, keys, comments), and what is known of targets before the login."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import Sandbox

COMMENTS = """
select col_description('{0}'::regclass, attnum) from pg_attribute
where attrelid = '{0}'::regclass and attnum > 0 order by attnum"""


def write(data: Path, name: str, keys: list[int], key: str = "B,A") -> None:
    columns = [
        pa.field("A", pa.int64(), nullable=False, metadata={"snowflake.comment": "the 'first'"}),
        pa.field("B", pa.string(), nullable=False),
        pa.field("C", pa.float64(), metadata={"snowflake.comment": "ünï"}),
    ]
    schema = pa.schema(columns, metadata={"snowflake.primary_key": key, "snowflake.comment": f"about {name}"})
    table = pa.table([pa.array(keys), pa.array(["x"] * len(keys)), pa.array([0.5] * len(keys))], schema=schema)
    data.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, data / f"{name}.parquet")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    directory = tmp_path_factory.mktemp("metadata")
    write(directory / "D" / "PUBLIC", "GOOD", [1, 2, 3])
    write(directory / "D" / "PUBLIC", "TWICE", [1, 2, 2])
    with Sandbox("--data", directory) as sandbox:
        yield sandbox


def key_of(database: psycopg.Connection, table: str) -> str | None:
    query = "select pg_get_constraintdef(oid) from pg_constraint where conrelid = %s::regclass and contype = 'p'"
    found = database.execute(query, (table,)).fetchone()
    return found and found[0]


@pytest.mark.parametrize("commands", [["run"], ["export", "import"]])
def test_keys_comments_and_not_null(
    commands: list[str], server: Sandbox, project: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    table = {"source": "D.PUBLIC.GOOD", "target": "public.good"}
    project.configure(snowflake=server.connection_keys, postgres=postgres.uri, tables=[table])
    for command in commands:
        outcome = project.run(command, "--json")
        assert outcome.code == 0, outcome.stderr
    assert key_of(database, "good") == "PRIMARY KEY (b, a)"
    assert database.execute("select obj_description('good'::regclass)").fetchone() == ("about GOOD",)
    assert [row[0] for row in database.execute(COMMENTS.format("good"))] == ["the 'first'", None, "ünï"]
    nulls = database.execute(
        "select attnotnull from pg_attribute where attrelid = 'good'::regclass and attnum > 0 order by attnum"
    )
    assert [row[0] for row in nulls] == [True, True, False]
    (manifest,) = project.manifests()
    assert json.loads(manifest.read_text())["primary_key"] == ["B", "A"]


def test_renamed_and_dropped_columns_of_a_key(
    server: Sandbox, project: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    table = '[[table]]\nsource = "D.PUBLIC.GOOD"\ntarget = "public.good"\nmode = "replace"\n'
    for choice, key in (('rename = { A = "number" }', "PRIMARY KEY (b, number)"), ('drop = ["A"]', None)):
        database.execute("drop table if exists good")
        project.configure(snowflake=server.connection_keys, postgres=postgres.uri, extra=table + choice + "\n")
        outcome = project.run("run", "--json")
        assert outcome.code == 0, outcome.stderr
        assert key_of(database, "good") == key


def test_a_key_that_the_rows_do_not_keep_is_a_warning(
    server: Sandbox, project: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    table = {"source": "D.PUBLIC.TWICE", "target": "public.twice"}
    project.configure(snowflake=server.connection_keys, postgres=postgres.uri, tables=[table])
    outcome = project.run("run", "--json")
    assert outcome.code == 0, outcome.stderr
    assert "the table has no primary key (b, a)" in outcome.stderr
    assert database.execute("select count(*) from twice").fetchone() == (3,)
    assert key_of(database, "twice") is None


def test_a_role_that_may_not_look_loses_nothing_else(
    tmp_path: Path, project: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    write(tmp_path / "D" / "PUBLIC", "GOOD", [1, 2, 3])
    with Sandbox("--data", tmp_path, "--deny-metadata") as server:
        table = {"source": "D.PUBLIC.GOOD", "target": "public.good"}
        project.configure(snowflake=server.connection_keys, postgres=postgres.uri, tables=[table])
        outcome = project.run("run", "--json")
    assert outcome.code == 0, outcome.stderr
    assert database.execute("select count(*) from good").fetchone() == (3,)
    assert key_of(database, "good") is None


def test_targets_are_refused_before_the_login_and_all_at_once(
    server: Sandbox, project: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    before = sum(server.stats()["logins"].values())
    database.execute("create table there (a int); create view seen as select 1")
    refused = [
        {"source": "D.PUBLIC.GOOD", "target": "public.there"},
        {"source": "D.PUBLIC.TWICE", "target": "public.seen", "mode": "replace"},
        {"source": "D.PUBLIC.GOOD", "name": "again", "target": "public.nowhere", "mode": "append"},
    ]
    project.configure(snowflake=server.connection_keys, postgres=postgres.uri, tables=[*refused[:2]])
    outcome = project.run("run", "--json")
    assert outcome.code == 8
    for said in ("public.there: the table exists already", "public.seen", "a view"):
        assert said in outcome.stderr, outcome.stderr
    assert sum(server.stats()["logins"].values()) == before
    assert [t["status"] for t in outcome.report["tables"]] == ["failed", "failed"]
    # One that can be loaded is.
    good = {"source": "D.PUBLIC.GOOD", "target": "public.good"}
    project.configure(snowflake=server.connection_keys, postgres=postgres.uri, tables=[refused[1], good])
    outcome = project.run("run", "--json")
    assert outcome.code == 8
    assert [t["status"] for t in outcome.report["tables"]] == ["failed", "ok"]
    assert database.execute("select count(*) from good").fetchone() == (3,)


def test_columns_that_the_target_cannot_hold_are_told_before_the_first_byte(
    server: Sandbox, project: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    database.execute("create table narrow (a boolean, b date, d int not null)")
    before = server.stats()["chunks"]
    table = {"source": "D.PUBLIC.GOOD", "target": "public.narrow", "mode": "append"}
    project.configure(snowflake=server.connection_keys, postgres=postgres.uri, tables=[table])
    outcome = project.run("run", "--json")
    assert outcome.code == 7
    for said in ("column a of type boolean", "column b of type date", "no column c", "column d is NOT NULL"):
        assert said in outcome.stderr, outcome.stderr
    assert server.stats()["chunks"] == before
    assert not list(project.export.rglob("*.parquet"))
