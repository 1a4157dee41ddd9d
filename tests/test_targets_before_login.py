"""A target that cannot be loaded is told before anybody is asked to sign in: privilege, object, role and remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import Sandbox

OBJECTS = """
grant usage on schema public to public;
create role readonly login; alter role readonly set default_transaction_read_only = on;
grant create on schema public to readonly;
create role nobody_in_public login;
create table there (id bigint); create role reader login; grant select on there to reader;
grant select, insert on there to readonly;
create role inserter login; grant insert on there to inserter;
create role hidden login; create table secured (id bigint); alter table secured enable row level security;
grant all on secured to hidden;
create schema inside; create table inside.t (id bigint); create role nousage login; grant all on inside.t to nousage;
create role nopath login; alter role nopath set search_path = '';
create table parent (id bigint primary key); create table child (id bigint references parent);
create role keeper login; alter table there owner to keeper; grant usage on schema public to keeper;
create schema staging
"""
ROLES = ["readonly", "nobody_in_public", "reader", "inserter", "hidden", "nousage", "nopath", "keeper"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    data = tmp_path_factory.mktemp("early")
    (data / "D" / "PUBLIC").mkdir(parents=True)
    pq.write_table(pa.table({"ID": pa.array(range(5), pa.int64())}), data / "D" / "PUBLIC" / "T.parquet")
    with Sandbox("--data", data) as sandbox:
        yield sandbox


@pytest.fixture
def targets(database: psycopg.Connection) -> Iterator[psycopg.Connection]:
    for role in ROLES:
        database.execute(f"drop role if exists {role}")
    database.execute(OBJECTS)
    yield database
    for role in ROLES:
        database.execute(f"drop owned by {role} cascade; drop role {role}")


CASES = [
    ("readonly", {"target": "public.new"}, ["read-only", "role readonly", "default_transaction_read_only"]),
    ("readonly", {"target": "public.there", "mode": "append"}, ["read-only"]),
    ("nobody_in_public", {"target": "public.new"}, ['grant create on schema "public" to "nobody_in_public"']),
    ("reader", {"target": "public.there", "mode": "append"}, ['grant insert on table "public"."there" to "reader"']),
    ("inserter", {"target": "public.there", "mode": "truncate"}, ['grant truncate on table "public"."there" to "inserter"']),
    ("inserter", {"target": "public.there", "mode": "replace"}, ['grant truncate on table "public"."there" to "inserter"']),
    ("nousage", {"target": "inside.t", "mode": "append"}, ['grant usage on schema "inside" to "nousage"']),
    ("hidden", {"target": "public.secured", "mode": "append"}, ["row-level security", "bypassrls"]),
    ("nopath", {"target": "bare"}, ["search_path", "schema.table"]),
    ("postgres", {"target": "public.parent", "mode": "replace"}, ["foreign keys of public.child"]),
    ("postgres", {"target": "public.parent", "mode": "truncate"}, ["foreign keys of public.child"]),
    ("postgres", {"target": "satging.users"}, ['no schema "satging"', 'nearest name is "staging"', "create_schema = true"]),
    ("nobody_in_public", {"target": "fresh.t"}, ['no schema "fresh"']),
]


@pytest.mark.parametrize(("role", "table", "texts"), CASES)
def test_refused_with_the_remedy_and_no_login(
    role: str,
    table: dict,
    texts: list[str],
    project: Project,
    server: Sandbox,
    postgres: PrivatePostgres,
    targets: psycopg.Connection,
) -> None:
    uri = postgres.uri.replace("postgres@", f"{role}@")
    project.configure(snowflake=server.connection_keys, postgres=uri, tables=[{"source": "D.PUBLIC.T", **table}])
    outcome = project.run("run", "--json")
    assert outcome.code == 8, outcome.stderr
    assert outcome.report["logins"] == 0
    for text in texts:
        assert text in outcome.stderr
    assert list(project.export.rglob("*.parquet")) == []


def test_the_remedy_works(project: Project, server: Sandbox, postgres: PrivatePostgres, targets: psycopg.Connection) -> None:
    """What a hint says to paste is enough: each round grants what the last one asked for."""
    for role, mode in (("reader", "append"), ("inserter", "truncate"), ("nobody_in_public", "create")):
        target = "public.new" if mode == "create" else "public.there"
        uri = postgres.uri.replace("postgres@", f"{role}@")
        project.configure(
            snowflake=server.connection_keys, postgres=uri, tables=[{"source": "D.PUBLIC.T", "target": target, "mode": mode}]
        )
        for _ in range(3):
            outcome = project.run("run", "--json")
            if outcome.code == 0:
                break
            targets.execute(outcome.stderr.split("let its owner run: ")[1].splitlines()[0])
        assert outcome.code == 0, outcome.stderr


def test_the_right_to_insert_is_enough_to_append(
    project: Project, server: Sandbox, postgres: PrivatePostgres, targets: psycopg.Connection
) -> None:
    uri = postgres.uri.replace("postgres@", "inserter@")
    project.configure(
        snowflake=server.connection_keys,
        postgres=uri,
        tables=[{"source": "D.PUBLIC.T", "target": "public.there", "mode": "append"}],
    )
    outcome = project.run("run", "--json")
    assert outcome.code == 0, outcome.stderr
    assert targets.execute("select count(*) from there").fetchone() == (5,)


def test_a_schema_is_made_when_that_is_asked_for(
    project: Project, server: Sandbox, postgres: PrivatePostgres, targets: psycopg.Connection
) -> None:
    project.configure(
        snowflake=server.connection_keys,
        postgres=postgres.uri,
        loading={"create_schema": True},
        tables=[{"source": "D.PUBLIC.T", "target": "fresh.t"}],
    )
    assert project.run("run", "--json").code == 0
    assert targets.execute("select count(*) from fresh.t").fetchone() == (5,)


def test_a_standby(project: Project, server: Sandbox) -> None:
    with PrivatePostgres(fsync="off") as standby:
        standby.stop_server()
        signal = standby.directory / "data" / "standby.signal"
        signal.touch()
        os.chmod(signal, 0o644)
        standby.start_server()
        project.configure(
            snowflake=server.connection_keys, postgres=standby.uri, tables=[{"source": "D.PUBLIC.T", "target": "public.t"}]
        )
        outcome = project.run("run", "--json")
    assert outcome.code == 8
    assert outcome.report["logins"] == 0
    assert "standby" in outcome.stderr
    assert "primary" in outcome.stderr


def test_a_trigger_that_skips_rows_is_named(
    project: Project, server: Sandbox, postgres: PrivatePostgres, targets: psycopg.Connection
) -> None:
    targets.execute(
        "create table t (id bigint); create function skip() returns trigger language plpgsql as 'begin return null; end'; "
        'create trigger "No rows" before insert on t for each row execute function skip()'
    )
    project.configure(
        snowflake=server.connection_keys,
        postgres=postgres.uri,
        tables=[{"source": "D.PUBLIC.T", "target": "public.t", "mode": "append"}],
    )
    outcome = project.run("run")
    assert outcome.code == 8
    assert 'trigger "No rows" left out 5 of 5 rows' in outcome.stderr
    assert "disable trigger" in outcome.stderr


def test_a_warning_of_the_server_is_shown_once_and_a_new_table_is_analyzed(
    project: Project, server: Sandbox, postgres: PrivatePostgres, targets: psycopg.Connection
) -> None:
    targets.execute(
        "create table t (id bigint); create function warn() returns trigger language plpgsql as "
        "$$ begin raise warning 'careful, %', 'people'; return new; end $$; "
        "create trigger w before insert on t for each row execute function warn()"
    )
    tables = [{"source": "D.PUBLIC.T", "target": "public.t", "mode": "append"}, {"source": "D.PUBLIC.T", "target": "public.made"}]
    project.configure(snowflake=server.connection_keys, postgres=postgres.uri, tables=tables[:1])
    outcome = project.run("run")
    assert outcome.code == 0, outcome.stderr
    assert outcome.stderr.count("careful, people") == 1
    project.configure(snowflake=server.connection_keys, postgres=postgres.uri, tables=tables[1:])
    assert project.run("run").code == 0
    assert targets.execute("select reltuples from pg_class where relname = 'made'").fetchone() == (5,)
