"""A role that may only make objects in `public` and in a schema of its own makes functions, operators and types by the names that
our statements use: loading as a superuser runs none of them."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from program import ROOT, Project, exported
from snowmelt_sandbox.postgres import PrivatePostgres

ROWS = 700_000  # above the 8 MB of Parquet from which several connections are used
ARGUMENTS = ["oid", "int4", "int8", "text", "name", '"char"', "bool", "regclass", "text[]"]
OPERATORS = ["=", "<>", "<", ">", "<=", ">=", "||", "~", "!~", "~~", "~~*", "&", "|", "<<", "+", "-", "<@", "@>"]
DOMAINS = ["text", "oid", "name", "date", "jsonb", "uuid", "bytea", "timestamptz", "regclass", "int8", "bool"]


def names_in_our_sql() -> list[str]:
    """Every word before a parenthesis in the sources that hold SQL."""
    sources = [*ROOT.glob("src/snowmelt/load/*.cc"), *ROOT.glob("src/snowmelt/connections/postgres*.cc")]
    words = {word for source in sources for word in re.findall(r"\b([a-z_]{3,})\(", source.read_text())}
    return sorted(words)


def trap(postgres: PrivatePostgres) -> None:
    """As mallory: whatever is called counts up a sequence, which no rollback takes back."""
    with psycopg.connect(postgres.uri, user="mallory", autocommit=True) as mallory:
        known = {
            name
            for (name,) in mallory.execute("select distinct proname from pg_proc where pronamespace = 'pg_catalog'::regnamespace")
        }
        functions = [name for name in names_in_our_sql() if name in known]
        assert len(functions) > 25, "the names are looked for in the wrong place"
        mallory.execute("create sequence mallory.hits; create table mallory.seen (name text)")
        body = "begin perform pg_catalog.nextval('mallory.hits'); return {}; end"
        statements = []
        for schema in ("public", "mallory"):
            for name, arity in itertools.product(functions, (0, 1, 2)):
                for types in itertools.product(ARGUMENTS if arity < 2 else ARGUMENTS[:5], repeat=arity):
                    arguments = ", ".join("pg_catalog." + t for t in types)
                    statements.append(
                        f'create function {schema}."{name}"({arguments}) returns pg_catalog.text '
                        f"language plpgsql as $$ {body.format('null')} $$"
                    )
            for number, (left, right) in enumerate(itertools.product(ARGUMENTS, repeat=2)):
                arguments = f"pg_catalog.{left}, pg_catalog.{right}"
                statements.append(
                    f"create function {schema}.hit{number}({arguments}) returns pg_catalog.bool language plpgsql as "
                    f"$$ {body.format('true')} $$"
                )
                statements += [
                    f"create operator {schema}.{operator} (leftarg = pg_catalog.{left}, rightarg = pg_catalog.{right}, "
                    f"function = {schema}.hit{number})"
                    for operator in OPERATORS
                ]
            statements.append(
                f"create function {schema}.checked() returns pg_catalog.bool language plpgsql as $$ {body.format('true')} $$"
            )
            statements += [f'create domain {schema}."{name}" as pg_catalog.{name} check ({schema}.checked())' for name in DOMAINS]
        for start in range(0, len(statements), 500):
            mallory.execute(";".join(statements[start : start + 500]))
        assert mallory.execute("select is_called from mallory.hits").fetchone() == (False,)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(3)
    columns = {
        "ID": pa.array(np.arange(ROWS)),
        "NAME": pa.array([f"row {i}" for i in range(ROWS)]),
        "X": random.random(ROWS),
        "Y": random.integers(-(2**62), 2**62, ROWS),
        "DAY": pa.array(np.arange(ROWS) % 20_000, pa.int32()).cast(pa.date32()),
    }
    big = pa.table(columns).replace_schema_metadata({"snowflake.primary_key": "ID", "snowflake.comment": "big"})
    return exported(tmp_path_factory.mktemp("hostile"), {"BIG": big, "SMALL": big.slice(0, 100)}, "--chunk-max-rows", 50_000)


@pytest.fixture
def hostile(postgres: PrivatePostgres, database: psycopg.Connection) -> Iterator[psycopg.Connection]:
    database.execute(
        "create role mallory login; create schema mallory authorization mallory; grant usage, create on schema public to mallory"
    )
    try:
        for name in ("big", "small"):
            # What a loader's own table has; made before the traps, as it would be.
            database.execute(
                f"create table {name} (id bigint primary key, name text default lower('NONE'), x float8 check (x >= 0), "
                "y bigint, day date not null, made timestamptz default now(), check (length(name) > 0))"
            )
            database.execute(
                f"create index on {name} (lower(name)); create index on {name} (day) where id > 5 and name <> 'none'"
            )
            database.execute(f"comment on table {name} is 'ours'; grant select on {name} to public")
        trap(postgres)
        yield database
    finally:
        database.execute("drop owned by mallory cascade; drop role mallory")
        database.execute("alter role postgres reset search_path")


@pytest.mark.parametrize("path", ['"$user", public', "public, pg_catalog", "mallory, public, pg_catalog"])
def test_nothing_foreign_runs(
    path: str, project: Project, export: Path, postgres: PrivatePostgres, hostile: psycopg.Connection
) -> None:
    hostile.execute(f"alter role postgres set search_path = {path}")
    hits = "select case when is_called then last_value else 0 end from mallory.hits"
    for connections, (source, rows) in itertools.product((1, 3), (("BIG", ROWS), ("SMALL", 100))):
        for mode in ("replace", "truncate", "append", "create"):
            if mode == "append":
                hostile.execute(f"truncate public.{source}")
            target = f"public.made{connections}_{source}" if mode == "create" else f"public.{source}"
            project.configure(postgres=postgres.uri, tables=[{"source": f"D.PUBLIC.{source}", "target": target, "mode": mode}])
            outcome = project.run("import", "--json", "--directory", str(export), "--load-connections", str(connections))
            case = f"{mode}, {source}, {connections} connections"
            assert hostile.execute(hits).fetchone() == (0,), f"{case}: something of mallory's ran"
            assert outcome.code == 0, f"{case}: {outcome.stderr}"
            assert json.loads(outcome.stdout)["tables"][0]["rows"] == rows, case
    hostile.execute("set search_path = pg_catalog")
    owners = "select distinct relowner::regrole::text from pg_class where relnamespace = 'snowmelt'::regnamespace"
    assert hostile.execute(owners).fetchall() == [("postgres",)]
    types = "select atttypid::regtype::text from pg_attribute where attrelid = 'public.made1_small'::regclass and attnum > 0"
    assert [name for (name,) in hostile.execute(types)] == ["bigint", "text", "double precision", "bigint", "date"]


def test_a_ledger_of_somebody_else_is_refused(
    project: Project, export: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    database.execute("drop role if exists mallory; create role mallory login; create schema theirs authorization mallory")
    try:
        database.execute("create table t (id bigint, name text, x float8, y bigint, day date)")
        with psycopg.connect(postgres.uri, user="mallory", autocommit=True) as mallory:
            mallory.execute(
                "create table theirs.loaded_export (table_oid oid, export_id text, rows bigint, target text, files text, "
                "loaded_at timestamptz default now(), primary key (table_oid, export_id))"
            )
            mallory.execute(
                "create function theirs.grab() returns trigger language plpgsql as "
                "$$ begin execute 'alter role mallory superuser'; return new; end $$"
            )
            mallory.execute(
                "create trigger grab before insert on theirs.loaded_export for each row execute function theirs.grab()"
            )
            mallory.execute("grant all on schema theirs to public; grant all on theirs.loaded_export to public")
        project.configure(
            postgres=postgres.uri,
            loading={"ledger_schema": "theirs"},
            tables=[{"source": "D.PUBLIC.SMALL", "target": "public.t", "mode": "append"}],
        )
        outcome = project.run("import", "--directory", str(export))
        assert outcome.code == 8
        assert "ledger_schema" in outcome.stderr
        assert "mallory" in outcome.stderr
        assert database.execute("select count(*) from t").fetchone() == (0,)
        assert database.execute("select rolsuper from pg_roles where rolname = 'mallory'").fetchone() == (False,)
    finally:
        database.execute("drop owned by mallory cascade; drop role mallory")


def test_expressions_that_are_written_without_their_operator(
    project: Project, export: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    """NULLIF, IS DISTINCT FROM and CASE are printed without the operator that they call: a new index would look for it anew."""
    database.execute("drop role if exists mallory; create role mallory login; create schema mallory authorization mallory")
    database.execute("grant usage, create on schema public to mallory; create type mood as enum ('a', 'b')")
    try:
        database.execute(
            "create table t (id bigint, name text, x float8, y bigint, day date, m mood default 'a', l text[] default '{}')"
        )
        database.execute(
            "create index t_n on t ((nullif(m, 'b'))); create index t_d on t (id) where l is distinct from '{x}'::text[]"
        )
        database.execute("create index t_c on t ((case m when 'a' then 1 else 2 end))")
        with psycopg.connect(postgres.uri, user="mallory", autocommit=True) as mallory:
            mallory.execute("create sequence mallory.hits")
            for kind in ("public.mood", "text[]"):
                mallory.execute(
                    f"create function public.hit({kind}, {kind}) returns bool language plpgsql immutable as "
                    "$$ begin perform nextval('mallory.hits'); return true; end $$"
                )
                mallory.execute(f"create operator public.= (leftarg = {kind}, rightarg = {kind}, function = public.hit)")
        project.configure(postgres=postgres.uri, tables=[{"source": "D.PUBLIC.SMALL", "target": "public.t", "mode": "replace"}])
        outcome = project.run("import", "--directory", str(export))
        assert outcome.code == 0, outcome.stderr
        assert database.execute("select is_called from mallory.hits").fetchone() == (False,)
        assert database.execute("select count(*) from pg_index where indrelid = 't'::regclass").fetchone() == (3,)
    finally:
        database.execute("drop table if exists t; drop owned by mallory cascade; drop role mallory")
