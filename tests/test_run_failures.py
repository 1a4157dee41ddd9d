"""`run` names what ended the export, though the loader was still at its parts, and calls stopped what was stopped."""

from __future__ import annotations

import json
import signal
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

CHUNKS = 20
ROWS = CHUNKS * 100


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    data = tmp_path_factory.mktemp("failures")
    (data / "D" / "PUBLIC").mkdir(parents=True)
    pq.write_table(pa.table({"ID": pa.array(range(ROWS), pa.int64())}), data / "D" / "PUBLIC" / "T.parquet")
    with Sandbox("--data", data, "--no-inline", "--chunk-rows", ROWS // CHUNKS) as sandbox:
        yield sandbox


@pytest.fixture
def job(project: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection) -> Iterator[Project]:
    """A part a chunk; the load waits for whoever locks the target."""
    database.execute("create table t (id bigint)")
    project.configure(
        snowflake=server.connection_keys,
        postgres=postgres.uri,
        tables=[{"source": "D.PUBLIC.T", "target": "public.t", "mode": "truncate"}],
        extra="part_size = 1\ndownloads = 1\nthreads = 1",
    )
    yield project
    server.clear_faults()


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def waiting_for_lock(database: psycopg.Connection) -> bool:
    return database.execute("select count(*) from pg_locks where not granted").fetchone()[0] > 0


def parts(job: Project) -> list[Path]:
    return list(job.export.rglob("*.parquet"))


def test_the_exports_failure_is_told(
    job: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    """The loader holds the first part, others wait in the queue, and then the export fails and removes them all."""
    server.fault("chunk", "short", chunk=CHUNKS - 2, rows=1, times=-1)
    server.fault("chunk", "delay", chunk=CHUNKS - 3, seconds=1, times=-1)  # the loader has begun by then
    alone = job.run("export", "--json")
    assert alone.code == 11, alone.stderr
    with psycopg.connect(postgres.uri) as blocker:
        blocker.execute("lock table t in access exclusive mode")
        process = job.start("run", "--json")
        until(lambda: waiting_for_lock(database) or process.poll() is not None)
        until(lambda: not parts(job))  # taken away
        blocker.rollback()
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 11, stderr
    error = json.loads(stdout)["tables"][0]["error"]
    assert error["code"] == alone.report["tables"][0]["error"]["code"]
    assert database.execute("select count(*) from t").fetchone() == (0,)


def test_stopped_is_interrupted_whatever_failed(
    job: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    with psycopg.connect(postgres.uri) as blocker:
        blocker.execute("lock table t in access exclusive mode")
        server.fault("chunk", "delay", chunk=CHUNKS - 2, seconds=60)
        process = job.start("run", "--json")
        until(lambda: waiting_for_lock(database) and parts(job))
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    report = json.loads(stdout)
    assert report["status"] == report["tables"][0]["status"] == "interrupted"
    assert report["tables"][0]["error"]["kind"] == "interrupted"
    assert not parts(job)
