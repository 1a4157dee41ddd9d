"""What [[table]] says of columns: renamed, dropped, typed, and what becomes of values that PostgreSQL cannot hold."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import Outcome, Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import Sandbox

import snowmelt

ROWS = {
    "ID": pa.array(range(4), pa.int64()),
    "Note": ["plain", "a\0b", "\0", None],
    "BIG": pa.array([1, 40_000, -32_769, None], pa.int64()),
    "SECRET": ["x", "y", "z", "w"],
    "AT": pa.array([0, 1, 2, 3], pa.timestamp("us")),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    data = tmp_path_factory.mktemp("columns")
    (data / "D" / "PUBLIC").mkdir(parents=True)
    pq.write_table(pa.table(ROWS), data / "D" / "PUBLIC" / "T.parquet")
    with Sandbox("--data", data) as sandbox:
        yield sandbox


def run(project: Project, server: Sandbox, postgres: PrivatePostgres, command: str = "run", **keys: Any) -> Outcome:
    """`keys` as TOML: dicts and lists are written inline."""

    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f'"{k}" = "{v}"' for k, v in value.items()) + " }"
        return str(value).replace("'", '"') if isinstance(value, list) else f'"{value}"'

    lines = "".join(f"{key} = {inline(value)}\n" for key, value in {"source": "D.PUBLIC.T", "target": "public.t", **keys}.items())
    project.configure(snowflake=server.connection_keys, postgres=postgres.uri, extra=f"[[table]]\n{lines}")
    return project.run(command, "--json")


def test_rename_types_drop_and_policies(
    project: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    outcome = run(
        project, server, postgres,
        rename={"id": "key", "Note": "remark"}, types={"BIG": "smallint", "Note": "varchar(10)"}, drop=["secret"],
        on_nul="strip", on_out_of_range="null",
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    assert outcome.report["tables"][0]["policies"] == {"on_nul": 2, "on_out_of_range": 2}
    columns = database.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute "
        "where attrelid = 't'::regclass and attnum > 0 order by 1"
    ).fetchall()
    assert columns == [
        ("at", "timestamp without time zone"), ("big", "smallint"), ("key", "bigint"), ("remark", "character varying(10)"),
    ]  # fmt: skip
    assert database.execute("select key, remark, big from t order by key").fetchall() == [
        (0, "plain", 1), (1, "ab", None), (2, "", None), (3, None, None),
    ]  # fmt: skip
    (part,) = project.export.rglob("*.parquet")
    assert "SECRET" not in pq.read_schema(part).names, "a dropped column was written to disk"
    again = run(
        project, server, postgres, "import",
        mode="replace", rename={"id": "key", "Note": "remark"}, drop=["secret"], on_nul="replace", on_out_of_range="null",
    )  # fmt: skip
    assert again.code == 0, again.stderr
    assert database.execute("select remark from t where key = 1").fetchone() == ("a\ufffdb",)


@pytest.mark.parametrize(
    ("keys", "code", "said"),
    [
        ({}, 7, ["column Note", "row 2", "NUL", "on_nul"]),
        ({"on_nul": "strip", "types": {"BIG": "smallint"}}, 7, ["column big", "row 2"]),
        ({"rename": {"NOPE": "x"}}, 7, ["rename", "NOPE"]),
        ({"types": {"NOPE": "text"}}, 7, ["types", "NOPE"]),
        ({"drop": ["NOPE"]}, 7, ["drop", "NOPE"]),
        ({"on_nul": "strip", "types": {"BIG": "no_such_type"}}, 8, ["no_such_type"]),
        ({"on_nul": "strip", "types": {"BIG": "boolean"}}, 7, ["big", "boolean"]),
        ({"on_nul": "strip", "rename": {"ID": "big"}}, 7, ["two columns are called big"]),
        ({"drop": ["ID", "Note", "BIG", "SECRET", "AT"]}, 7, ["no column is left"]),
        ({"on_nul": "sometimes"}, 2, ["on_nul", "strip"]),
        ({"drop": "ID"}, 2, ["drop", "list"]),
        ({"rename": "ID"}, 2, ["rename", "table of columns"]),
    ],
)
def test_one_clear_error(
    keys: dict,
    code: int,
    said: list[str],
    project: Project,
    server: Sandbox,
    postgres: PrivatePostgres,
    database: psycopg.Connection,
) -> None:
    outcome = run(project, server, postgres, **keys)
    assert outcome.code == code, outcome.stderr
    for words in said:
        assert words in outcome.stderr
    assert database.execute("select to_regclass('t')").fetchone()[0] is None


def test_choices_in_a_dict(
    tmp_path: Path, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    table = {
        "source": "D.PUBLIC.T", "target": "public.t", "rename": {"ID": "key"}, "types": {"BIG": "numeric(20,2)"},
        "drop": ["SECRET", "AT"], "on_nul": "replace",
    }  # fmt: skip
    with snowmelt.SnowflakeConnectionManager(**server.connection_keys) as snowflake:
        snowmelt.export_table(table, None, str(tmp_path), snowflake)
    with snowmelt.PostgresConnectionManager(uri=postgres.uri) as manager:
        snowmelt.import_table(table, None, str(tmp_path), manager)
    assert database.execute("select key, big from t where key = 1").fetchone() == (1, Decimal("40000.00"))
    with pytest.raises(TypeError, match="drop"):
        snowmelt.export_table({**table, "drop": "SECRET"}, None, str(tmp_path), snowflake)


def test_digits_below_the_microsecond_are_counted(
    tmp_path: Path, project: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    (tmp_path / "data" / "D" / "PUBLIC").mkdir(parents=True)
    at = pa.array([1, 1_000, -1, None, 2_001], pa.timestamp("ns"))
    pq.write_table(pa.table({"AT": at}), tmp_path / "data" / "D" / "PUBLIC" / "T.parquet")
    with Sandbox("--data", tmp_path / "data") as sandbox:
        outcome = run(project, sandbox, postgres, on_subsecond="truncate")
        assert outcome.code == 0, outcome.stderr
    assert outcome.report["tables"][0]["policies"] == {"on_subsecond": 3}


# --- other people's files


def load(file: Path, postgres: PrivatePostgres) -> None:
    with snowmelt.PostgresConnectionManager(uri=postgres.uri, autocommit=True) as manager:
        snowmelt.PostgreSQLDataLoader(manager).load_parquet_to_table(file, "public.foreign_t", mode="replace")


def test_dictionaries_views_and_nested_values(tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    table = pa.table({
        "word": pa.array(["a", None, "b", "a"]).dictionary_encode(),
        "view": pa.array(["x", "a longer text than twelve", None, ""], pa.string_view()),
        "bytes": pa.array([b"1", None, b"\0\1", b""], pa.binary_view()),
        "nothing": pa.nulls(4),
        "row": pa.array(
            [{"n": 2**63 - 1, "t": 'say "hi"\n'}, None, {"n": None, "t": "ü"}, {"n": -1, "t": ""}],
            pa.struct([("n", pa.int64()), ("t", pa.string())]),
        ),
        "map": pa.array([[("a", 1), ("b", None)], [], None, [("c", 3)]], pa.map_(pa.string(), pa.int32())),
        "lists": pa.array([[[1, 2], []], None, [], [None, [3]]], pa.list_(pa.list_(pa.int32()))),
        "fixed": pa.array([[1.5, 2.5], None, [0.1, -0.0], [3.0, 4.0]], pa.list_(pa.float64(), 2)),
        "money": pa.array(
            [[{"d": Decimal("12345678901234567890.12")}], None, [], [{"d": None}]],
            pa.list_(pa.struct([("d", pa.decimal128(22, 2))])),
        ),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    load(tmp_path / "t.parquet", postgres)
    types = dict(
        database.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute "
            "where attrelid = 'foreign_t'::regclass and attnum > 0"
        ).fetchall()
    )
    assert types == {
        "word": "text", "view": "text", "bytes": "bytea", "nothing": "text", "row": "jsonb", "map": "jsonb", "lists": "jsonb",
        "fixed": "double precision[]", "money": "jsonb",
    }  # fmt: skip
    got = database.execute('select word, view, bytes, nothing, "row", map, lists, fixed, money::text from foreign_t').fetchall()
    assert got == [
        ("a", "x", b"1", None, {"n": 2**63 - 1, "t": 'say "hi"\n'}, {"a": 1, "b": None}, [[1, 2], []], [1.5, 2.5],
         '[{"d": 12345678901234567890.12}]'),
        (None, "a longer text than twelve", None, None, None, {}, None, None, None),
        ("b", None, b"\0\1", None, {"n": None, "t": "ü"}, None, [], [0.1, -0.0], "[]"),
        ("a", "", b"", None, {"n": -1, "t": ""}, {"c": 3}, [None, [3]], [3.0, 4.0], '[{"d": null}]'),
    ]  # fmt: skip


def test_nan_has_no_json_form(tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    rows = pa.array([{"x": 1.0}, {"x": float("nan")}], pa.struct([("x", pa.float64())]))
    pq.write_table(pa.table({"r": rows}), tmp_path / "t.parquet")
    with pytest.raises(snowmelt.ValueError, match="NaN") as caught:
        load(tmp_path / "t.parquet", postgres)
    assert "column r, row 2" in str(caught.value)


@pytest.mark.parametrize("writer", ["pandas", "polars", "duckdb"])
def test_files_of_other_writers(writer: str, tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    file = tmp_path / "t.parquet"
    when = dt.datetime(2024, 2, 29, 12, 34, 56, 789012)
    rows = {"i": [1, None, 3], "s": ["a", "", None], "f": [0.1, None, -1e300], "t": [when, None, dt.datetime(1, 1, 1)]}
    if writer == "pandas":
        frame = pd.DataFrame({"i": pd.array(rows["i"], "Int64"), "s": pd.Categorical(["a", "", None]), "f": rows["f"]})
        frame["t"] = pd.array(rows["t"], "datetime64[us]")
        frame.to_parquet(file, index=False)
    elif writer == "polars":
        pl.DataFrame(rows).with_columns(pl.col("s").cast(pl.Categorical)).write_parquet(file)
    else:
        import duckdb

        frame = pl.DataFrame(rows).to_arrow()  # noqa: F841  DuckDB finds it by its name
        duckdb.execute(f"copy (select * from frame) to '{file}' (format parquet)")
    load(file, postgres)
    got = database.execute("select i, s, f, t from foreign_t").fetchall()
    nothing = [None] if writer != "pandas" else [None, float("nan")]
    assert got[0] == (1, "a", 0.1, when)
    assert got[1][:2] == (None, "")
    assert got[1][2] in nothing or got[1][2] != got[1][2]
    assert got[2] == (3, None, -1e300, dt.datetime(1, 1, 1))
