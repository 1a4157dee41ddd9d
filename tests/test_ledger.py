"""The ledger knows which exports are in a table and which tables are ours, by what a table is and not by its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from program import Outcome, Project, exported
from snowmelt_sandbox.postgres import PrivatePostgres

ROWS = 4000


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("ledger"), {"T": pa.table({"ID": pa.array(range(ROWS), pa.int64())})})


@pytest.fixture
def load(project: Project, export: Path, postgres: PrivatePostgres, database: psycopg.Connection):
    def run(mode: str = "append", user: str = "", target: str = "public.t", **loading: str) -> Outcome:
        uri = postgres.uri.replace("postgres@", f"{user}@") if user else postgres.uri
        project.configure(postgres=uri, loading=loading, tables=[{"source": "D.PUBLIC.T", "target": target, "mode": mode}])
        return project.run("import", "--json", "--directory", str(export))

    return run


def count(database: psycopg.Connection, table: str = "t") -> int:
    return database.execute(f"select count(*) from {table}").fetchone()[0]


def test_an_export_that_is_in_is_skipped_with_no_rows(load, database: psycopg.Connection) -> None:
    database.execute("create table t (id bigint)")
    assert load().report["tables"][0]["status"] == "ok"
    again = load()
    assert again.code == 0
    table = again.report["tables"][0]
    assert (table["status"], table["rows"]) == ("skipped", 0)
    assert "in the table already" in table["reason"]
    assert count(database) == ROWS


@pytest.mark.parametrize(
    "change",
    ["truncate t", "drop table t; create table t (id bigint)", "alter table t rename to old; create table t (id bigint)"],
)
def test_another_table_of_the_name_has_not_the_rows(change: str, load, database: psycopg.Connection) -> None:
    database.execute("create table t (id bigint)")
    assert load().code == 0
    database.execute(change)
    outcome = load()
    assert outcome.code == 0, outcome.stderr
    assert outcome.report["tables"][0]["rows"] == ROWS
    assert count(database) == ROWS


@pytest.mark.parametrize("mode", ["truncate", "replace"])
def test_our_own_truncate_and_replace_forget(mode: str, load, database: psycopg.Connection) -> None:
    database.execute("create table t (id bigint)")
    assert load().code == 0
    assert load(mode).code == 0
    assert load().report["tables"][0]["rows"] == ROWS
    assert count(database) == 2 * ROWS


def test_a_table_that_was_renamed_still_has_the_rows(load, database: psycopg.Connection) -> None:
    database.execute("create table t (id bigint)")
    assert load().code == 0
    database.execute("alter table t rename to u")
    assert load(target="public.u").report["tables"][0]["status"] == "skipped"


def test_a_rewritten_table_is_not_guessed_at(load, database: psycopg.Connection) -> None:
    database.execute("create table t (id bigint)")
    assert load().code == 0
    database.execute("vacuum full t")
    outcome = load()
    assert outcome.code == 8
    assert "emptied or rewritten" in outcome.stderr
    assert "delete from" in outcome.stderr
    assert count(database) == ROWS


def test_partitions_count(load, database: psycopg.Connection) -> None:
    database.execute(
        "create table t (id bigint) partition by range (id); create table t1 partition of t for values from (0) to (9999)"
    )
    assert load().code == 0
    database.execute("create table t2 partition of t for values from (9999) to (99999)")
    assert load().report["tables"][0]["status"] == "skipped"
    database.execute("truncate t")
    assert load().report["tables"][0]["rows"] == ROWS


def test_which_tables_are_ours(load, database: psycopg.Connection) -> None:
    ours = "select m.target from snowmelt.made_table m where m.table_oid = 't'::regclass"
    assert load("create").code == 0
    assert database.execute(ours).fetchall() == [("public.t",)]
    assert load("replace").code == 0  # a new table with a new oid
    assert database.execute(ours).fetchall() == [("public.t",)]
    database.execute("drop table t; create table t (id bigint)")
    assert load("replace").code == 0
    assert database.execute(ours).fetchall() == []
    assert load("create", target="public.u").code == 0
    assert database.execute("select count(*) from snowmelt.made_table").fetchone() == (1,), "tables that are gone are forgotten"


@pytest.fixture
def inserter(database: psycopg.Connection) -> Iterator[psycopg.Connection]:
    database.execute("drop role if exists inserter; create role inserter login; create table t (id bigint)")
    database.execute("grant usage on schema public to inserter; grant insert on t to inserter")
    yield database
    database.execute("drop owned by inserter; drop role inserter")


def test_the_right_to_insert_is_enough(load, inserter: psycopg.Connection) -> None:
    for times in (1, 2):
        outcome = load(user="inserter")
        assert outcome.code == 0, outcome.stderr
        assert "a repetition would add them again" in outcome.stderr
        assert 'create schema "snowmelt" authorization "inserter"' in outcome.stderr
        assert count(inserter) == times * ROWS
    # What the warning says to paste is enough.
    inserter.execute('create schema "snowmelt" authorization "inserter"')
    outcome = load(user="inserter")
    assert outcome.report["tables"][0]["rows"] == ROWS, outcome.stderr
    assert load(user="inserter").report["tables"][0]["status"] == "skipped"
    assert count(inserter) == 3 * ROWS


def test_one_who_may_not_write_the_ledger_is_told_how(load, inserter: psycopg.Connection) -> None:
    assert load(target="public.other", mode="create").code == 0  # makes the ledger, as a superuser
    outcome = load(user="inserter")
    assert outcome.code == 0
    for statement in outcome.stderr.split("its owner can: ")[1].split(")\n")[0].split("; "):
        inserter.execute(statement)
    assert load(user="inserter").report["tables"][0]["rows"] == ROWS
    assert load(user="inserter").report["tables"][0]["status"] == "skipped"


def test_another_schema_for_it(load, database: psycopg.Connection) -> None:
    database.execute("create table t (id bigint)")
    assert load(ledger_schema='"Our Own"').code == 0
    assert database.execute('select target, rows from "Our Own".loaded_export').fetchall() == [("public.t", ROWS)]


@pytest.mark.parametrize("mode", ["create", "replace", "truncate", "append"])
def test_leftovers_are_swept_by_every_mode(mode: str, load, database: psycopg.Connection) -> None:
    mark = "snowmelt is loading public.t here; left behind when it was killed"
    database.execute(f"create table t_snowmelt_0000000a (id bigint); comment on table t_snowmelt_0000000a is '{mark}'")
    database.execute("drop role if exists other; create role other login; grant create on schema public to other")
    try:
        database.execute(f"create table t_snowmelt_0000000b (id bigint); comment on table t_snowmelt_0000000b is '{mark}'")
        database.execute("alter table t_snowmelt_0000000b owner to other")
        if mode != "create":
            database.execute("create table t (id bigint)")
        outcome = load(mode)
        assert outcome.code == 0, outcome.stderr
        left = database.execute("select relname from pg_class where relname like 't\\_snowmelt%'").fetchall()
        assert left == [("t_snowmelt_0000000b",)]
        assert 'belongs to role "other"; its owner can: drop table "public"."t_snowmelt_0000000b"' in outcome.stderr
    finally:
        database.execute("drop owned by other; drop role other")


def test_children_that_inherit_are_not_emptied(load, database: psycopg.Connection) -> None:
    database.execute(
        "create table t (id bigint); create table child () inherits (t); insert into child values (-1); insert into t values (-2)"
    )
    for mode in ("truncate", "replace"):
        assert load(mode).code == 0
        assert database.execute("select count(*) from only t").fetchone() == (ROWS,)
        assert database.execute("select id from child").fetchall() == [(-1,)]
