"""One table of keys: what a file says holds for the command line and for Python alike, and the page says the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import Sandbox

import snowmelt
from snowmelt import _snowmelt

ROOT = Path(__file__).resolve().parent.parent

# Every key of [[table]] and [export] at a value that is not its default. No other test may be needed for a new key to be noticed.
TABLE: dict[str, Any] = {
    "source": "D.PUBLIC.T",
    "name": "things",
    "target": "public.things",
    "mode": "replace",
    "integers": "numeric",
    "on_subsecond": "truncate",
    "tz_offset": True,
    "rename": {"ID": "key", "Note": "remark"},
    "types": {"BIG": "smallint"},
    "drop": ["SECRET"],
    "on_nul": "strip",
    "on_out_of_range": "null",
}
EXPORT: dict[str, Any] = {
    "part_size": 1,
    "threads": 1,
    "downloads": 2,
    "memory_limit": 300_000_000,
    "chunk_rate_min": 2_000,
    "chunk_time_max": "20m",
    "compression_level": 3,
    "permissions": "group",
}
# `query` excludes `source`; `directory` is the project's.
ELSEWHERE = {("table", "query"), ("export", "directory")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    data = tmp_path_factory.mktemp("keys")
    (data / "D" / "PUBLIC").mkdir(parents=True)
    rows = {
        "ID": pa.array(range(4), pa.int64()),
        "Note": ["plain", "a\0b", "\0", None],
        "BIG": pa.array([1, 40_000, -32_769, None], pa.int64()),
        "SECRET": ["x", "y", "z", "w"],
        "AT": pa.array([1, 1_001, 2, 3], pa.timestamp("ns")),
    }
    pq.write_table(pa.table(rows), data / "D" / "PUBLIC" / "T.parquet")
    with Sandbox("--data", data, "--chunk-max-rows", 1, "--no-inline") as sandbox:
        yield sandbox


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{k}" = {toml(v)}' for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value).lower() if isinstance(value, (bool, int)) else f'"{value}"'


def lines(section: str, keys: dict[str, Any]) -> str:
    return f"{section}\n" + "".join(f"{name} = {toml(value)}\n" for name, value in keys.items())


def write(project: Project, server: Sandbox, postgres: PrivatePostgres) -> None:
    project.write(
        lines("[snowflake]", server.connection_keys)
        + lines("[postgres]", {"uri": postgres.uri})
        + lines("[export]", {"directory": str(project.export), **EXPORT})
        + lines("[[table]]", TABLE)
    )


def contents(database: psycopg.Connection) -> tuple[list, list]:
    columns = database.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = 'public.things'::regclass and attnum > 0"
    ).fetchall()
    return columns, database.execute("select * from public.things order by key").fetchall()


def test_every_key_is_given_here() -> None:
    known = {(key["section"], key["name"]) for key in _snowmelt.configuration_keys() if key["section"] in ("table", "export")}
    assert known - ELSEWHERE == {("table", name) for name in TABLE} | {("export", name) for name in EXPORT}
    for key in _snowmelt.configuration_keys():
        given = (TABLE if key["section"] == "table" else EXPORT).get(key["name"])
        assert given is None or given != key["default"]


def test_python_reads_and_takes_every_key(
    project: Project, server: Sandbox, postgres: PrivatePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, server, postgres)
    monkeypatch.setenv("HOME", str(project.directory))
    config = snowmelt.load_config(project.directory / "snowmelt.toml")
    assert config["tables"] == [TABLE]
    assert config["export"] == {"directory": str(project.export), **EXPORT}
    assert config["directory"] == str(project.export)


def test_an_export_by_python_does_what_the_command_line_does(
    project: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, server, postgres)
    outcome = project.run("run", "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.report["tables"][0]["policies"] == {"on_nul": 2, "on_out_of_range": 2, "on_subsecond": 4}
    by_command, parts_by_command = contents(database), outcome.report["tables"][0]["parts"]
    assert [name for name, _ in by_command[0]] == ["key", "remark", "big", "at"]
    database.execute("drop table public.things")
    subprocess.run(["rm", "-r", project.export], check=True)

    # The documented loop, in a process of its own that finds snowmelt.toml where it stands.
    loop = """
import snowmelt
config = snowmelt.load_config()
with snowmelt.SnowflakeConnectionManager() as source, snowmelt.PostgresConnectionManager() as target:
    for table_config in config["tables"]:
        report = snowmelt.export_table(table_config, None, config["directory"], source)
        snowmelt.import_table(table_config, None, config["directory"], target)
        print(report.parts)
"""
    done = subprocess.run(
        [sys.executable, "-c", loop], cwd=project.directory, env=project.variables(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert contents(database) == by_command
    assert int(done.stdout) == parts_by_command == 4, "part_size, threads and downloads of [export] hold for Python too"


def test_the_page_is_current() -> None:
    said = subprocess.run([sys.executable, ROOT / "tools" / "docs-keys", "--check"], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
