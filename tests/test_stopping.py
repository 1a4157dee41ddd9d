"""The first signal ends every kind of wait within two seconds, whatever the far side does; the second one ends at once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from link import Link
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import PATIENCE, Sandbox, until

ROWS, CHUNKS = 20_000, 10
BEFORE = [(1,), (2,), (3,)]

# 2 s, and one for the process to start its end and to be seen. Where more wants to run than there are processors, that takes
# its turn too.
STOPPED_WITHIN = 3.0


def patience() -> float:
    return STOPPED_WITHIN * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@dataclass
class Stage:
    """One run with both of its servers, either of which can be made slow, silent or be gone."""

    project: Project
    sandbox: Sandbox
    link: Link
    database: psycopg.Connection
    uri: str  # past the link
    held: list[psycopg.Connection] = field(default_factory=list)

    def fired(self) -> bool:
        return any(fault["fired"] for fault in self.sandbox.faults())

    def active(self, what: str) -> bool:
        query = "select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() and query ilike %s"
        return self.database.execute(query, [what]).fetchone()[0] > 0


@dataclass
class Wait:
    side: str  # whose far side is waited for
    prepare: Callable[[Stage], object]
    reached: Callable[[Stage], object]
    mode: str = "replace"
    in_python: bool = True


def hold_the_lock(stage: Stage) -> None:
    blocker = psycopg.connect(stage.uri)
    blocker.execute("lock table t in access exclusive mode")
    stage.held.append(blocker)


SLOW = "create or replace function slow(bigint) returns bigint immutable language plpgsql as $$begin {} return $1; end$$"


def slow_index(stage: Stage) -> None:
    stage.database.execute(SLOW.format(""))
    stage.database.execute("create index t_slow on t (slow(id))")
    stage.database.execute(SLOW.format("perform pg_sleep(0.3);"))


def slow_trigger(stage: Stage) -> None:
    stage.database.execute(
        "create function wait_a_row() returns trigger language plpgsql as $$begin perform pg_sleep(0.3); return new; end$$"
    )
    stage.database.execute("create trigger slow before insert on t for each row execute function wait_a_row()")


WAITS = {
    "connect": Wait("postgres", lambda s: s.link.silence(), lambda s: s.link.accepted > 0),
    "lock": Wait("postgres", hold_the_lock, lambda s: s.active("lock table%")),
    "copy": Wait("postgres", slow_trigger, lambda s: s.active("copy %"), mode="truncate"),
    "publish": Wait("postgres", slow_index, lambda s: s.active("create index%")),
    "login": Wait("snowflake", lambda s: s.sandbox.fault("login", "hold"), Stage.fired),
    "statement": Wait("snowflake", lambda s: s.sandbox.fault("query", "hold", sql="select"), Stage.fired),
    "metadata": Wait("snowflake", lambda s: s.sandbox.fault("query", "hold", sql="describe"), Stage.fired),
    "retry pause": Wait("snowflake", lambda s: s.sandbox.fault("chunk", "status", code=503, times=-1), Stage.fired),
    "download": Wait("snowflake", lambda s: s.sandbox.fault("chunk", "slow", bytes_per_second=50, times=-1), Stage.fired),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("stopping")
    (directory / "D" / "PUBLIC").mkdir(parents=True)
    pq.write_table(pa.table({"ID": pa.array(range(ROWS), pa.int64())}), directory / "D" / "PUBLIC" / "T.parquet")
    return directory


OPTIONS = ("--no-inline", "--chunk-rows", ROWS // CHUNKS)


@pytest.fixture(scope="module")
def untouched(data: Path) -> Iterator[Sandbox]:
    """For waits on PostgreSQL: nothing happens to this one."""
    with Sandbox("--data", data, *OPTIONS) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(data: Path, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    name = request.node.callspec.params.get("name") if hasattr(request.node, "callspec") else None
    if name is not None and WAITS[name].side == "postgres":
        yield request.getfixturevalue("untouched")
        return
    with Sandbox("--data", data, *OPTIONS) as own:
        yield own
        with contextlib.suppress(ProcessLookupError):
            os.kill(own.pid, signal.SIGCONT)


@pytest.fixture
def stage(sandbox: Sandbox, project: Project, postgres: PrivatePostgres, database: psycopg.Connection) -> Iterator[Stage]:
    database.execute("create table t (id bigint)")
    database.cursor().executemany("insert into t values (%s)", BEFORE)
    with Link(f"{postgres.socket_directory}/.s.PGSQL.5432") as link:
        stage = Stage(project, sandbox, link, database, postgres.uri)
        yield stage
        for connection in stage.held:
            connection.close()
    end_backends(database)


def running(database: psycopg.Connection) -> int:
    query = "select count(*) from pg_stat_activity where application_name = 'snowmelt' and backend_type = 'client backend'"
    return database.execute(query).fetchone()[0]


def configure(stage: Stage, mode: str) -> None:
    stage.project.configure(
        snowflake=stage.sandbox.connection_keys,
        postgres=f"postgresql://postgres@127.0.0.1:{stage.link.port}/postgres",
        tables=[{"source": "D.PUBLIC.T", "target": "public.t", "mode": mode}],
    )


def until_reached(wait: Wait, stage: Stage, process: subprocess.Popen) -> None:
    until(lambda: wait.reached(stage) or process.poll() is not None)
    assert process.poll() is None, process.communicate()


def far_side_becomes(state: str, wait: Wait, stage: Stage) -> None:
    if state == "slow" and wait.side == "postgres":
        stage.link.slow_down()
    elif state == "silent":
        stage.link.silence() if wait.side == "postgres" else os.kill(stage.sandbox.pid, signal.SIGSTOP)
    elif state == "gone":
        stage.link.cut() if wait.side == "postgres" else os.kill(stage.sandbox.pid, signal.SIGKILL)


def end_of(process: subprocess.Popen, begun: float) -> tuple[float, str, str]:
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return time.monotonic() - begun, stdout, stderr


def end_backends(database: psycopg.Connection) -> None:
    """A backend whose client is gone notices it when it next reads, which a trigger or an index may put off for long."""
    database.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'snowmelt'")
    until(lambda: running(database) == 0)


def assert_target_is_whole(stage: Stage) -> None:
    stage.link.cut()
    for connection in stage.held:
        connection.close()
    end_backends(stage.database)
    assert stage.database.execute("select id from t order by id").fetchall() == BEFORE


# make test-matrix has all, which take six minutes; the suite has each signal and each state once with every wait.
ALL = bool(os.environ.get("SNOWMELT_MATRIX"))
STATES = ["slow", "silent", "gone"]
SIGNALS = [signal.SIGINT, signal.SIGTERM]
PAIRS = [(n, s) for n in SIGNALS for s in STATES] if ALL else [(signal.SIGINT, "silent"), (signal.SIGTERM, "slow")]


@pytest.mark.parametrize(("number", "state"), PAIRS, ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize("name", WAITS)
def test_one_signal_ends_any_wait(name: str, number: signal.Signals, state: str, stage: Stage) -> None:
    wait = WAITS[name]
    configure(stage, wait.mode)
    wait.prepare(stage)
    process = stage.project.start("run", "--json")
    until_reached(wait, stage, process)
    far_side_becomes(state, wait, stage)
    begun = time.monotonic()
    process.send_signal(number)
    seconds, stdout, stderr = end_of(process, begun)
    report = json.loads(stdout)
    if state == "gone" and report["status"] == "failed":  # the run had ended before the signal came to it
        assert process.returncode == 4, stderr
    else:
        assert process.returncode == 128 + number, stderr
        assert report["status"] == "interrupted"
        errors = [table["error"] for table in report["tables"] if "error" in table] + [
            report[k] for k in ["error"] if k in report
        ]
        assert {error["kind"] for error in errors} == {"interrupted"}, errors
        assert report["go_on"].endswith("snowmelt run --json")
        assert "to go on: " in stderr
    assert seconds < patience(), stderr
    assert_target_is_whole(stage)


@pytest.mark.parametrize("name", WAITS)
def test_the_second_signal_ends_at_once(name: str, stage: Stage) -> None:
    wait = WAITS[name]
    configure(stage, wait.mode)
    wait.prepare(stage)
    process = stage.project.start("run")
    until_reached(wait, stage, process)
    far_side_becomes("silent", wait, stage)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)  # else the system may make one of the two
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    seconds, _, stderr = end_of(process, begun)
    assert process.returncode == 130, stderr
    assert seconds < patience() / 3, stderr
    assert_target_is_whole(stage)


PROGRAM = {
    "postgres": """
import snowmelt
with snowmelt.PostgresConnectionManager() as manager:
    print(snowmelt.import_data(snowmelt.load_config()["tables"], None, "export", manager))
""",
    "snowflake": """
import snowmelt
with snowmelt.SnowflakeConnectionManager() as manager:
    print(snowmelt.export_data(snowmelt.load_config()["tables"], None, "export", manager))
""",
}


@pytest.mark.parametrize("state", STATES if ALL else ["gone"])
@pytest.mark.parametrize("name", WAITS)
def test_ctrl_c_in_python(name: str, state: str, stage: Stage) -> None:
    wait = WAITS[name]
    configure(stage, wait.mode)
    if wait.side == "postgres":
        assert stage.project.run("export").code == 0
    wait.prepare(stage)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM[wait.side]],
        cwd=stage.project.directory,
        env=stage.project.variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until_reached(wait, stage, process)
    far_side_becomes(state, wait, stage)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    seconds, stdout, stderr = end_of(process, begun)
    if state != "gone" or "KeyboardInterrupt" in stderr:
        assert process.returncode == -signal.SIGINT, stderr + stdout
        assert "KeyboardInterrupt" in stderr
    assert seconds < patience(), stderr
    assert_target_is_whole(stage)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_pipe_that_nobody_reads(number: signal.Signals, stage: Stage) -> None:
    """The line about the table that is done does not fit into stderr any more."""
    configure(stage, "replace")
    readable, writable = os.pipe()
    fcntl.fcntl(writable, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writable, b"x" * 4096)
    process = stage.project.start("run", "--json", stderr=writable)
    os.close(writable)
    until(lambda: stage.database.execute("select count(*) from t").fetchone()[0] == ROWS)
    begun = time.monotonic()
    process.send_signal(number)
    stdout, _ = process.communicate(timeout=PATIENCE)
    os.close(readable)
    assert time.monotonic() - begun < patience()
    assert json.loads(stdout)["tables"][0]["rows"] == ROWS
    assert process.returncode in (0, 128 + number)  # all was done: the signal has stopped nothing


def test_metadata_that_does_not_come_is_left_out(stage: Stage) -> None:
    configure(stage, "replace")
    stage.sandbox.fault("query", "hold", sql="describe")
    outcome = stage.project.run("run")
    assert outcome.code == 0, outcome.stderr
    assert "keys and comments are left out" in outcome.stderr
    assert stage.database.execute("select count(*) from t").fetchone()[0] == ROWS
