"""The main job: all TPC-H tables through a sandbox, as one command and as its two halves."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from program import Project, processes_of_session
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import PATIENCE, Sandbox, until

from demo.demo import TABLES, source_content, target_content

SCALE = 0.02
ROWS = {"region": 5, "nation": 25, "supplier": 200, "customer": 3_000, "part": 4_000, "partsupp": 16_000, "orders": 30_000}
REPORT_KEYS = {"run_id", "status", "logins", "tables", "seconds"}
TABLE_KEYS = {"source", "target", "rows", "bytes", "seconds", "parts", "status"}


@pytest.fixture(scope="module")
def data(tpch: Callable[[float], Path]) -> Path:
    return tpch(SCALE)


@pytest.fixture(scope="module")
def sandbox(data: Path) -> Iterator[Sandbox]:
    with Sandbox("--data", data, "--chunk-max-rows", 20_000) as server:
        yield server


def tpch_tables(*names: str, **keys: str) -> list[dict]:
    return [{"source": f"TPCH.PUBLIC.{name.upper()}", **keys} for name in names]


@pytest.fixture
def job(project: Project, sandbox: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection) -> Project:
    project.configure(snowflake=sandbox.connection_keys, postgres=postgres.uri, tables=tpch_tables(*TABLES))
    return project


def logins(sandbox: Sandbox) -> int:
    return sum(sandbox.stats()["logins"].values())


def assert_equal_content(data: Path, postgres: PrivatePostgres, names: list[str] = TABLES) -> None:
    different = [
        name for name in names
        if source_content(data / "TPCH" / "PUBLIC" / f"{name.upper()}.parquet") != target_content(postgres, name)
    ]  # fmt: skip
    assert different == []


def tables_in(database: psycopg.Connection) -> set[str]:
    return {row[0] for row in database.execute("select tablename from pg_tables where schemaname = 'public'")}


def test_run_moves_every_table_with_one_login(
    job: Project, sandbox: Sandbox, data: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    before = logins(sandbox)
    process = job.start("run", "--json")
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert_equal_content(data, postgres)
    assert tables_in(database) >= set(TABLES)

    report = json.loads(stdout)
    assert set(report) == REPORT_KEYS
    assert (report["status"], report["logins"]) == ("ok", 1)
    assert logins(sandbox) - before == 1
    assert [t["source"] for t in report["tables"]] == [f"TPCH.PUBLIC.{name.upper()}" for name in TABLES]
    assert [t["target"] for t in report["tables"]] == [f"public.{name}" for name in TABLES]
    for table in report["tables"]:
        assert set(table) >= TABLE_KEYS
        assert table["status"] == "ok" and table["seconds"] >= 0 and table["parts"] >= 1
        parts = list((job.export / table["source"]).glob("*.parquet"))
        assert len(parts) == table["parts"]
        assert sum(p.stat().st_size for p in parts) == table["bytes"]
    rows = {t["source"].rpartition(".")[2].lower(): t["rows"] for t in report["tables"]}
    assert {name: rows[name] for name in ROWS} == ROWS
    assert rows["lineitem"] == source_content(data / "TPCH" / "PUBLIC" / "LINEITEM.parquet")[0]
    assert report["seconds"] >= max(t["seconds"] for t in report["tables"]) - 0.01

    # Nothing is left: no process, no session on either server, no temporary file, nothing outside the export directory.
    assert processes_of_session(process.pid) == []
    stats = sandbox.stats()
    assert stats["sessions_open"] == 0 and stats["statements_running"] == 0
    others = database.execute("select count(*) from pg_stat_activity where backend_type = 'client backend'").fetchone()
    assert others == (1,)
    assert job.unfinished() == []
    assert len(job.manifests()) == len(TABLES)
    assert {p.name for p in job.directory.iterdir()} <= {"export", "home", "snowmelt.toml"}


def test_the_summary_names_every_table_and_the_logins(job: Project) -> None:
    outcome = job.run("run")
    assert outcome.code == 0, outcome.stderr
    assert all(f"TPCH.PUBLIC.{name.upper()}" in outcome.stdout and f"public.{name}" in outcome.stdout for name in TABLES)
    assert "logins: 1\n" in outcome.stdout
    assert "8 tables, " in outcome.stdout


def test_halves_alone(
    job: Project, sandbox: Sandbox, data: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    """Export with no PostgreSQL to reach, import with no Snowflake to reach."""
    tables = tpch_tables(*TABLES)
    before = logins(sandbox)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nobody.setblocking(False)
        port = nobody.getsockname()[1]
        job.configure(snowflake=sandbox.connection_keys, postgres=f"postgresql://127.0.0.1:{port}/none", tables=tables)
        exported = job.run("export", "--json")
        with pytest.raises(BlockingIOError):
            nobody.accept()
    assert exported.code == 0, exported.stderr
    assert (exported.report["status"], exported.report["logins"]) == ("ok", 1)
    assert logins(sandbox) - before == 1
    assert len(job.manifests()) == len(TABLES)
    assert tables_in(database) == set()

    requests = len(sandbox.requests())
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nobody.setblocking(False)
        keys = {**sandbox.connection_keys, "port": nobody.getsockname()[1]}
        job.configure(snowflake=keys, postgres=postgres.uri, tables=tables)
        imported = job.run("import", "--json")
        with pytest.raises(BlockingIOError):
            nobody.accept()
    assert imported.code == 0, imported.stderr
    assert (imported.report["status"], imported.report["logins"]) == ("ok", 0)
    assert len(sandbox.requests()) == requests
    assert [t["rows"] for t in imported.report["tables"]] == [t["rows"] for t in exported.report["tables"]]
    assert_equal_content(data, postgres)


def test_import_needs_no_snowflake_section(job: Project, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    assert job.run("export", "--table", "nation").code == 0
    job.configure(postgres=postgres.uri, tables=tpch_tables("nation"))
    assert job.run("import").code == 0
    assert database.execute("select count(*) from nation").fetchone() == (25,)


@pytest.mark.parametrize("name", ["nation", "NATION", "TPCH.PUBLIC.NATION", "public.nation"])
def test_table_picks_by_source_target_or_last_part(job: Project, database: psycopg.Connection, name: str) -> None:
    outcome = job.run("run", "--json", "--table", name)
    assert outcome.code == 0, outcome.stderr
    assert [t["source"] for t in outcome.report["tables"]] == ["TPCH.PUBLIC.NATION"]
    assert tables_in(database) == {"nation"}


def test_table_may_be_repeated(job: Project, database: psycopg.Connection) -> None:
    assert job.run("run", "--table", "nation", "--table", "region").code == 0
    assert tables_in(database) == {"nation", "region"}


def test_directory_flag_wins(job: Project, tmp_path: Path) -> None:
    assert job.run("export", "--table", "nation", "--directory", str(tmp_path / "elsewhere" / "deep")).code == 0
    assert [m.parent for m in job.manifests()] == [tmp_path / "elsewhere" / "deep" / "TPCH.PUBLIC.NATION"]
    assert job.run("import", "--table", "nation", "--directory", str(tmp_path / "elsewhere" / "deep")).code == 0


def test_replace_twice_gives_the_same_table(
    job: Project, sandbox: Sandbox, data: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    names = ["nation", "orders"]
    tables = tpch_tables(*names, mode="replace")
    job.configure(snowflake=sandbox.connection_keys, postgres=postgres.uri, tables=tables)
    for _ in range(2):
        outcome = job.run("run", "--json")
        assert outcome.code == 0, outcome.stderr
        assert_equal_content(data, postgres, names)
    assert len(job.manifests()) == 2 and job.unfinished() == []
    # An export that is there already is loaded once more by import.
    assert job.run("import").code == 0
    assert_equal_content(data, postgres, names)


def test_create_on_an_existing_table(job: Project, database: psycopg.Connection) -> None:
    database.execute("create table nation (mine text)")
    database.execute("insert into nation values ('kept')")
    outcome = job.run("run", "--json")
    assert outcome.code == 8
    assert database.execute("select mine from nation").fetchall() == [("kept",)]
    by_name = {t["source"]: t for t in outcome.report["tables"]}
    nation = by_name.pop("TPCH.PUBLIC.NATION")
    assert nation["status"] == "failed" and nation["error"]["exit_code"] == 8
    assert "public.nation" in nation["error"]["message"] and "mode" in nation["error"]["message"]
    assert outcome.report["status"] == "failed"
    assert {t["status"] for t in by_name.values()} == {"ok"}, "one failed table does not stop the others"
    assert tables_in(database) >= set(TABLES)


def test_the_exit_code_is_the_first_failure(job: Project, sandbox: Sandbox, postgres: PrivatePostgres) -> None:
    tables = [{"source": "TPCH.PUBLIC.MISSING"}, *tpch_tables("region")]
    job.configure(snowflake=sandbox.connection_keys, postgres=postgres.uri, tables=tables)
    outcome = job.run("run", "--json")
    assert outcome.code == 5
    assert [t["status"] for t in outcome.report["tables"]] == ["failed", "ok"]
    assert "MISSING" in outcome.report["tables"][0]["error"]["message"]


def test_second_run_in_the_same_directory(job: Project, sandbox: Sandbox) -> None:
    """While one run exports a table, another one waits as long as it may, then is told so (exit 12) and changes nothing."""
    sandbox.fault("chunk", "hold")
    first = job.start("export", "--table", "lineitem")
    try:
        until(lambda: sandbox.faults()[0]["fired"])
        for wait in ("0", "300ms"):
            second = job.run("export", "--table", "lineitem", "--json", "--wait", wait)
            assert second.code == 12
            error = second.report["tables"][0]["error"]
            assert error["kind"] == "locked" and "--wait" in error["message"], error
            assert f"(pid {first.pid})" in error["message"], error
            assert ("waiting for another run" in second.stderr) == (wait != "0"), second.stderr
        patient = job.start("export", "--table", "lineitem")
        assert "waiting for another run" in patient.stderr.readline()
        sandbox.clear_faults()
        assert first.wait(PATIENCE) == 0
        assert patient.wait(PATIENCE) == 0
        patient.communicate()
    finally:
        sandbox.clear_faults()
        first.kill()
        first.communicate()
    assert len(job.manifests()) == 1


def test_usage(project: Project) -> None:
    assert project.run().code == 1
    assert project.run("frob").code == 1
    assert project.run("run", "--frob").code == 1
    assert project.run("run", "--jobs", "0").code == 1
    for command in ("run", "export", "import"):
        refused = project.run(command, "--wait", "10 minutes")
        assert refused.code == 1 and '"10 minutes" is not a duration' in refused.stderr, refused.stderr
        assert "--wait" in project.run(command, "--help").stdout
    shown = project.run("--help")
    assert shown.code == 0 and "snowmelt run" in shown.stdout and "Exit codes" in shown.stdout
    assert project.run("--version").stdout.startswith("snowmelt ")


def test_no_secret_is_shown(job: Project, sandbox: Sandbox, postgres: PrivatePostgres) -> None:
    keys = {**sandbox.connection_keys, "password": "Wr0ng-Secret"}
    job.configure(snowflake=keys, postgres=postgres.uri, tables=tpch_tables("nation"))
    outcome = job.run("run", "--verbose", "--json")
    assert outcome.code == 3
    assert "Wr0ng-Secret" not in outcome.stdout + outcome.stderr
    lines = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert "Wr0ng-Secret" not in lines
