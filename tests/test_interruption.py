"""Stopped at any moment: nothing half done, nothing left running, and the same command again does the work."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from program import Project, processes_of_session
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import PATIENCE, Sandbox, until

from demo.demo import source_content, target_content

SCALE = 0.05
SOURCE = {"source": "TPCH.PUBLIC.LINEITEM", "mode": "replace"}
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(scope="module")
def data(tpch: Callable[[float], Path]) -> Path:
    return tpch(SCALE)


@pytest.fixture
def sandbox(data: Path) -> Iterator[Sandbox]:
    with Sandbox("--data", data, "--chunk-max-rows", 10_000) as server:
        yield server


@pytest.fixture
def job(project: Project, sandbox: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection) -> Project:
    project.configure(snowflake=sandbox.connection_keys, postgres=postgres.uri, tables=[SOURCE])
    return project


def running_statements(database: psycopg.Connection) -> int:
    query = "select count(*) from pg_stat_activity where application_name = 'snowmelt' and backend_type = 'client backend'"
    return database.execute(query).fetchone()[0]


def waiting_for_lock(database: psycopg.Connection) -> bool:
    return database.execute("select count(*) from pg_locks where not granted").fetchone()[0] > 0


def assert_nothing_left(job: Project, process: subprocess.Popen, sandbox: Sandbox, database: psycopg.Connection) -> None:
    until(lambda: processes_of_session(process.pid) == [])
    until(lambda: running_statements(database) == 0)
    until(lambda: sandbox.stats()["statements_running"] == 0)
    assert sandbox.stats()["sessions_open"] == 0
    assert job.unfinished() == []


def assert_rerun_is_whole(job: Project, data: Path, postgres: PrivatePostgres) -> None:
    done = job.run("run")
    assert done.code == 0, done.stderr
    wanted = source_content(data / "TPCH" / "PUBLIC" / "LINEITEM.parquet")
    assert target_content(postgres, "lineitem") == wanted


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("moment", ["query", "chunks", "copy"])
def test_signals(
    moment: str,
    number: signal.Signals,
    job: Project,
    sandbox: Sandbox,
    data: Path,
    postgres: PrivatePostgres,
    database: psycopg.Connection,
    request: pytest.FixtureRequest,
) -> None:
    if moment == "query":
        sandbox.fault("query", "hold", sql="LINEITEM")
    elif moment == "chunks":
        sandbox.fault("chunk", "slow", bytes_per_second=100, times=1000)  # hours: only the signal ends it
    else:
        assert job.run("run").code == 0
        request.addfinalizer((blocker := psycopg.connect(postgres.uri)).close)
        blocker.execute("lock table lineitem in access exclusive mode")
    process = job.start("run")
    if moment == "query":
        until(lambda: any(f["fired"] for f in sandbox.faults()))
    elif moment == "chunks":
        until(lambda: sandbox.stats()["chunks"] > 0)
    else:
        until(lambda: waiting_for_lock(database))
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == CODES[number], stderr
    if moment == "copy":
        blocker.close()
        assert target_content(postgres, "lineitem") == source_content(data / "TPCH" / "PUBLIC" / "LINEITEM.parquet")
    else:
        assert database.execute("select to_regclass('lineitem')").fetchone()[0] is None
    sandbox.clear_faults()
    assert_nothing_left(job, process, sandbox, database)
    assert_rerun_is_whole(job, data, postgres)


@pytest.mark.parametrize("chunks", [0, 1, 4, 9, 15, 22, 29, 30])
def test_killed_at_any_moment(
    chunks: int, job: Project, sandbox: Sandbox, data: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    """SIGKILL gives no chance to clean up: what is left must not look complete, and the next run must not stumble over it."""
    process = job.start("run")
    until(lambda: sandbox.stats()["chunks"] >= chunks or process.poll() is not None)
    process.kill()
    process.communicate(timeout=PATIENCE)
    until(lambda: running_statements(database) == 0)
    table = database.execute("select to_regclass('lineitem')").fetchone()[0]
    if table is not None:  # it had come to its end
        assert target_content(postgres, "lineitem") == source_content(data / "TPCH" / "PUBLIC" / "LINEITEM.parquet")
    assert_rerun_is_whole(job, data, postgres)


def test_second_interrupt_ends_at_once(job: Project, sandbox: Sandbox) -> None:
    sandbox.fault("chunk", "slow", bytes_per_second=100, times=1000)
    process = job.start("run")
    until(lambda: sandbox.stats()["chunks"] > 0)
    process.send_signal(signal.SIGINT)
    while "a second signal ends at once" not in (line := process.stderr.readline()):
        assert line, "it ended without a word"
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode in (130, -signal.SIGINT)


def test_nohup(job: Project, sandbox: Sandbox, data: Path, postgres: PrivatePostgres) -> None:
    """Under nohup the terminal's end is not the run's end."""
    sandbox.fault("query", "hold", sql="LINEITEM")
    process = job.start("run", prefix=("nohup",))
    until(lambda: any(f["fired"] for f in sandbox.faults()))
    process.send_signal(signal.SIGHUP)
    sandbox.clear_faults()
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, stderr
    assert target_content(postgres, "lineitem") == source_content(data / "TPCH" / "PUBLIC" / "LINEITEM.parquet")
