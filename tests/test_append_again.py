"""`run` with append: whatever ended the last run, the next one adds no rows a second time, and the one after a good one adds."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import Sandbox

ROWS = 200
A = {"source": "D.PUBLIC.A", "target": "public.a", "mode": "append"}
B = {"source": "D.PUBLIC.B", "target": "public.b", "mode": "replace"}
# COMMIT waits in a deferred trigger until the test lets go of lock 42.
HELD_COMMIT = """
create function wait() returns trigger language plpgsql as
  $$ begin perform pg_advisory_xact_lock_shared(42); return null; end $$;
create constraint trigger held after insert on a deferrable initially deferred for each row execute function wait()"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    data = tmp_path_factory.mktemp("append")
    (data / "D" / "PUBLIC").mkdir(parents=True)
    for name in "AB":
        pq.write_table(pa.table({"ID": pa.array(range(ROWS), pa.int64())}), data / "D" / "PUBLIC" / f"{name}.parquet")
    with Sandbox("--data", data) as sandbox:
        yield sandbox


@pytest.fixture
def job(project: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection) -> Iterator[Project]:
    database.execute("create table a (id bigint)")
    project.configure(snowflake=server.connection_keys, postgres=postgres.uri, tables=[A, B])
    yield project
    server.clear_faults()


def rows(database: psycopg.Connection, table: str = "a") -> int:
    return database.execute(f"select count(*) from {table}").fetchone()[0]


def record(job: Project) -> Path:
    return job.export / ".last-run.json"


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def fail_b(server: Sandbox) -> None:
    server.fault("query", "error", sql="PUBLIC.B", code=2003, sqlstate="02000", message="no such table", times=-1)


def assert_carried_on_and_new(job: Project, database: psycopg.Connection, *, before: int = ROWS) -> None:
    """The next run skips A and ends well; the one after it is a new night."""
    outcome = job.run("run", "--json")
    assert outcome.code == 0, outcome.stderr
    first, second = outcome.report["tables"]
    assert (first["status"], first["rows"], second["status"], second["rows"]) == ("skipped", 0, "ok", ROWS)
    assert "an unfinished run has added its rows" in first["reason"]
    assert f"skipped D.PUBLIC.A -> public.a: {first['reason']}" in outcome.stderr
    assert outcome.report["status"] == "ok"
    assert rows(database) == before
    assert not record(job).exists()
    assert job.run("run").code == 0
    assert rows(database) == before + ROWS


def test_a_failed_table_does_not_add_the_others_again(job: Project, server: Sandbox, database: psycopg.Connection) -> None:
    fail_b(server)
    for number in range(3):
        outcome = job.run("run", "--json")
        assert outcome.code == 5, outcome.stderr
        assert rows(database) == ROWS
        assert outcome.report["tables"][0]["status"] == ("skipped" if number else "ok")
        assert "again" not in outcome.stderr
    server.clear_faults()
    assert_carried_on_and_new(job, database)


def test_the_rest_may_be_done_table_by_table(job: Project, server: Sandbox, database: psycopg.Connection) -> None:
    fail_b(server)
    assert job.run("run").code == 5
    assert job.run("run", "--table", "a").code == 0  # skipped
    assert rows(database) == ROWS
    server.clear_faults()
    assert job.run("run", "--table", "b").code == 0
    assert not record(job).exists()
    assert job.run("run", "--table", "a").code == 0
    assert rows(database) == 2 * ROWS


def test_another_target_or_query_is_another_table(
    job: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    database.execute("create table other (id bigint)")
    fail_b(server)
    assert job.run("run").code == 5

    def run(**changed: str) -> None:
        job.configure(snowflake=server.connection_keys, postgres=postgres.uri, tables=[{**A, **changed}, B])
        assert job.run("run").code == 5

    run(target="public.other")
    assert (rows(database), rows(database, "other")) == (ROWS, ROWS)
    job.configure(
        snowflake=server.connection_keys,
        postgres=postgres.uri,
        tables=[
            {"query": "select ID from D.PUBLIC.A where ID < 10", "name": "D.PUBLIC.A", "target": "public.a", "mode": "append"},
            B,
        ],
    )
    assert job.run("run").code == 5
    assert rows(database) == ROWS + 10


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_ended_after_the_commit(number: signal.Signals, job: Project, server: Sandbox, database: psycopg.Connection) -> None:
    server.fault("query", "delay", seconds=60, sql="PUBLIC.B", times=-1)
    process = job.start("run")
    until(lambda: rows(database) == ROWS)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert "again" not in stderr
    server.clear_faults()
    assert_carried_on_and_new(job, database)


class Relay:
    """Between the program and PostgreSQL's socket; cut() ends the links on the program's side alone."""

    def __init__(self, postgres: PrivatePostgres) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="relay-")
        self._to = f"{postgres.socket_directory}/.s.PGSQL.5432"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self._directory.name}/.s.PGSQL.5432")
        self._listener.listen()
        self._here: list[socket.socket] = []
        self._there: list[socket.socket] = []
        self.uri = postgres.uri.replace(postgres.socket_directory, self._directory.name)

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for end in [self._listener, *self._here, *self._there]:
            end.close()
        self._directory.cleanup()

    def cut(self) -> None:
        for end in self._here:
            end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(self._to)
                self._here.append(here)
                self._there.append(there)
                for ends in ((here, there), (there, here)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                to.sendall(piece)


def commit_is_held(database: psycopg.Connection) -> bool:
    query = "select count(*) from pg_locks where locktype = 'advisory' and objid = 42 and not granted"
    return database.execute(query).fetchone()[0] > 0


def test_killed_while_its_commit_goes_on(
    job: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    """The program is gone, the server still commits: the next run waits for what becomes of it."""
    database.execute(HELD_COMMIT)
    with psycopg.connect(postgres.uri, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(42)")
        process = job.start("run")
        until(lambda: commit_is_held(database))
        process.kill()
        process.communicate()
        assert rows(database) == 0
        following = job.start("run", "--json")
        assert "waiting for the turn to load public.a" in following.stderr.readline()
        holder.execute("select pg_advisory_unlock(42)")
        stdout, stderr = following.communicate(timeout=60)
    assert following.returncode == 0, stderr
    assert [table["status"] for table in json.loads(stdout)["tables"]] == ["skipped", "ok"]
    assert rows(database) == ROWS


def test_interrupted_while_it_waits_for_another_load(
    job: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    database.execute(HELD_COMMIT)
    with psycopg.connect(postgres.uri, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(42)")
        process = job.start("run")
        until(lambda: commit_is_held(database))
        process.kill()
        process.communicate()
        following = job.start("run", "--json")
        assert "waiting for the turn to load public.a" in following.stderr.readline()
        os.kill(following.pid, signal.SIGINT)
        stdout, stderr = following.communicate(timeout=60)
        assert following.returncode == 130, stderr
        assert json.loads(stdout)["status"] == "interrupted"


@pytest.mark.parametrize("kept", [True, False])
def test_commit_in_doubt(
    kept: bool, job: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    """The link breaks during COMMIT; the next run finds out whether the rows were kept."""
    fail_b(server)
    database.execute(HELD_COMMIT)
    with Relay(postgres) as relay, psycopg.connect(postgres.uri, autocommit=True) as holder:
        job.configure(snowflake=server.connection_keys, postgres=relay.uri if kept else postgres.uri, tables=[A, B])
        holder.execute("select pg_advisory_lock(42)")
        process = job.start("run", "--json")
        until(lambda: commit_is_held(database))
        if kept:
            relay.cut()
        else:
            waiting = "select pid from pg_locks where locktype = 'advisory' and objid = 42 and not granted"
            database.execute(f"select pg_terminate_backend(pid) from ({waiting}) w")
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 9, stderr
        assert "the next run asks the table's ledger" in stderr
        assert "again" not in stderr
        holder.execute("select pg_advisory_unlock(42)")
        job.configure(snowflake=server.connection_keys, postgres=postgres.uri, tables=[A, B])
        server.clear_faults()
        if kept:
            assert_carried_on_and_new(job, database)
        else:
            assert job.run("run").code == 0
            assert rows(database) == ROWS


def test_a_damaged_record_is_an_error(job: Project, server: Sandbox, database: psycopg.Connection) -> None:
    fail_b(server)
    assert job.run("run").code == 5
    record(job).write_text(record(job).read_text()[:-20])
    outcome = job.run("run", "--json")
    assert outcome.code == 6
    assert outcome.report["error"]["code"] == "run.record_damaged"
    assert str(record(job)) in outcome.stderr and "delete the file" in outcome.stderr
    assert rows(database) == ROWS
    assert outcome.report["logins"] == 0
    record(job).unlink()
    server.clear_faults()
    assert job.run("run").code == 0
    assert rows(database) == 2 * ROWS  # as the person decided


def test_without_append_nothing_is_written(job: Project, server: Sandbox, postgres: PrivatePostgres) -> None:
    job.configure(snowflake=server.connection_keys, postgres=postgres.uri, tables=[B])
    assert job.run("run").code == 0
    assert sorted(path.name for path in job.export.iterdir()) == ["D.PUBLIC.B"]
