"""Forks, interrupts, forgotten objects, and managers that somebody else holds: all end cleanly."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from program import ROOT, sanitized
from python_fixtures import ORDERS, Sales
from snowmelt_sandbox.testing import PATIENCE, until

import snowmelt

TABLE = "SALES.PUBLIC.ORDERS"


def start(code: str) -> subprocess.Popen[str]:
    environment = sanitized({**os.environ, "PYTHONPATH": str(ROOT / "python")})
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(code: str) -> subprocess.CompletedProcess[str]:
    process = start(code)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


FORKED = f"""
import os, snowmelt
manager = snowmelt.SnowflakeConnectionManager()
chunks = snowmelt.SnowflakeDataExtractor(manager).extract_table_chunks("{TABLE}", part_size=1)
next(chunks)
reader = manager.get_connection().cursor().execute("select * from {TABLE}").fetch_record_batches()
next(iter(reader))
child = os.fork()
if child == 0:
    for attempt in (lambda: next(chunks), lambda: next(iter(reader))):
        try:
            attempt()
            print("it went on")
        except snowmelt.Error as error:
            print(error.code, flush=True)
    raise SystemExit(0)  # its normal end collects what the parent has
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
print(len(list(chunks)) > 0, sum(batch.num_rows for batch in reader) > 0)
manager.close()
"""


def test_a_forked_child_leaves_exports_and_readers_alone(configured: Path, sales: Sales) -> None:
    for _ in range(3):
        done = run(FORKED)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["process.forked", "process.forked", "0", "True", "True"]


def test_a_manager_of_ones_own_lives_as_long_as_its_export(configured: Path, sales: Sales) -> None:
    """URLs expire and the session is gone when the caller has let go of its manager: the extractor still has it."""

    class Mine(snowmelt.SnowflakeConnectionManager):
        def get_connection(self) -> snowmelt.SnowflakeConnection:
            return super().get_connection()

    def begin() -> snowmelt.TableChunks:
        sales.sandbox.fault("chunk", "delay", seconds=0.3, times=-1)
        return snowmelt.SnowflakeDataExtractor(Mine()).extract_table_chunks(TABLE, part_size=1, downloads=1)

    chunks = begin()
    next(chunks)
    sales.sandbox.clear_faults()
    sales.sandbox.kill_sessions()
    sales.sandbox.expire_urls()
    assert len(list(chunks)) > 1
    assert json.loads((configured / "export" / TABLE / "manifest.json").read_text())["rows"] == ORDERS


def test_closing_the_manager_finishes_what_nobody_has_read(configured: Path, sales: Sales) -> None:
    with snowmelt.SnowflakeConnectionManager() as manager:
        snowmelt.SnowflakeDataExtractor(manager).extract_table_chunks(TABLE)
    assert json.loads((configured / "export" / TABLE / "manifest.json").read_text())["rows"] == ORDERS


def test_an_exception_finishes_nothing(configured: Path, sales: Sales, caplog: pytest.LogCaptureFixture) -> None:
    sales.sandbox.fault("chunk", "hold", times=-1)
    with pytest.raises(ZeroDivisionError), snowmelt.SnowflakeConnectionManager() as manager:
        snowmelt.SnowflakeDataExtractor(manager).extract_table_chunks(TABLE)
        raise ZeroDivisionError
    assert not list(configured.rglob("manifest.json"))
    assert "stopped before it was complete" in caplog.text


def test_a_destructor_runs_no_export(configured: Path, sales: Sales, caplog: pytest.LogCaptureFixture) -> None:
    sales.sandbox.fault("chunk", "hold", times=-1)
    manager = snowmelt.SnowflakeConnectionManager()
    extractor = snowmelt.SnowflakeDataExtractor(manager)
    extractor.extract_table_chunks(TABLE)
    with caplog.at_level(logging.ERROR, "snowmelt"):
        del extractor, manager
    assert "stopped before it was complete" in caplog.text
    assert not list(configured.rglob("manifest.json"))
    assert not list(configured.rglob("*.parquet"))


def test_an_extractor_that_goes_before_its_export_is_read(configured: Path, sales: Sales) -> None:
    assert len(list(snowmelt.SnowflakeDataExtractor().extract_table_chunks(TABLE))) > 0
    with snowmelt.SnowflakeConnectionManager() as manager:
        chunks = snowmelt.SnowflakeDataExtractor(manager).extract_table_chunks(TABLE, part_size=1)
    assert len(list(chunks)) > 1, "who has it reads it after the manager's end too"
    assert json.loads((configured / "export" / TABLE / "manifest.json").read_text())["rows"] == ORDERS


def test_the_programs_end_finishes_what_nobody_has_read(configured: Path, sales: Sales) -> None:
    code = f"""
import snowmelt
extractor = snowmelt.SnowflakeDataExtractor()
extractor.extract_table_chunks("{TABLE}")
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert json.loads((configured / "export" / TABLE / "manifest.json").read_text())["rows"] == ORDERS
    (configured / "export" / TABLE / "manifest.json").unlink()
    assert run(code + "1 / 0\n").returncode == 1
    assert not list(configured.rglob("manifest.json")), "it ended by an exception"


FETCHING = f"""
import snowmelt
manager = snowmelt.SnowflakeConnectionManager()
cursor = manager.get_connection().cursor()
cursor.execute("select * from {TABLE}")
print("ready", flush=True)
try:
    cursor.fetchall()
except KeyboardInterrupt:
    print("interrupted", flush=True)
input()
cursor.execute("select count(*) from {TABLE}")
print(cursor.fetchone()[0], flush=True)
manager.close()
"""


def test_ctrl_c_ends_the_downloads_of_a_fetch_and_frees_its_cursor(configured: Path, sales: Sales) -> None:
    sales.sandbox.fault("chunk", "hold", times=-1)
    process = subprocess.Popen(
        [sys.executable, "-c", FETCHING],
        env=sanitized({**os.environ, "PYTHONPATH": str(ROOT / "python")}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    until(lambda: sales.sandbox.faults()[0]["fired"])
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted\n"
    sales.sandbox.clear_faults()
    stdout, _ = process.communicate("\n", timeout=PATIENCE)
    assert (process.returncode, stdout.split()) == (0, [str(ORDERS)])


def test_uncommitted_work_is_told_and_no_server_is_asked(
    configured: Path, database: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    database.execute("create table t (n int)")
    with snowmelt.PostgresConnectionManager() as manager:
        manager.get_connection().cursor().execute("select 1")
    assert "uncommitted" not in caplog.text, "it only read"
    for statement in ("insert into t values (1)", "with new as (insert into t values (1) returning n) select n from new"):
        caplog.clear()
        with snowmelt.PostgresConnectionManager() as manager:
            manager.get_connection().cursor().execute(statement)
        assert "uncommitted work is rolled back" in caplog.text
    until(lambda: database.execute("select count(*) from t").fetchone() == (0,))
