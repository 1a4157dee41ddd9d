"""A server that is gone ends a run of many tables soon, in few words; and a login that nobody can answer is not begun."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import Sandbox

TABLES, DONE = 300, 58


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("many")
    (directory / "D" / "PUBLIC").mkdir(parents=True)
    for number in range(TABLES):
        pq.write_table(pa.table({"ID": pa.array([number], pa.int64())}), directory / "D" / "PUBLIC" / f"T{number:03}.parquet")
    return directory


@pytest.mark.parametrize(("command", "jobs"), [("run", 1), ("run", 4), ("export", 2)])
def test_snowflake_dies_in_a_run_of_300_tables(
    command: str, jobs: int, data: Path, project: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    with Sandbox("--data", data) as sandbox:
        project.configure(
            snowflake=sandbox.connection_keys,
            postgres=postgres.uri,
            tables=[{"source": f"D.PUBLIC.T{number:03}", "target": f"public.t{number:03}"} for number in range(TABLES)],
        )
        log = project.directory / "stderr.log"
        with log.open("w") as stderr:
            process = project.start(command, "--json", "--jobs", str(jobs), stderr=stderr)
        while log.read_text().count("done ") < DONE:
            assert process.poll() is None, log.read_text()
        os.kill(sandbox.pid, signal.SIGKILL)
        stdout, _ = process.communicate(timeout=60 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
    text = log.read_text()
    assert process.returncode == 4, text
    report = json.loads(stdout)
    statuses = [table["status"] for table in report["tables"]]
    done, failed, skipped = (statuses.count(status) for status in ("ok", "failed", "skipped"))
    assert done >= DONE
    assert 3 <= failed <= 3 + jobs
    assert skipped == TABLES - done - failed > 0
    assert statuses == ["ok"] * done + statuses[done:]
    assert text.count("error:") == 1, text
    assert f"{failed} tables (D.PUBLIC.T" in text
    assert f"{skipped} more were not tried" in text
    assert report["error"]["code"] == "run.unreachable"
    assert report["go_on"].endswith(f"snowmelt {command} --json --jobs {jobs}")


@pytest.mark.parametrize("command", [("run",), ("export",), ("login",)], ids=lambda words: words[0])
def test_where_nobody_can_answer_a_login(
    command: tuple[str, ...], data: Path, project: Project, postgres: PrivatePostgres
) -> None:
    """As a scheduler starts it: no terminal, no desktop, not even HOME."""
    with Sandbox("--data", data) as sandbox:  # no browser will ever answer
        keys = {key: value for key, value in sandbox.connection_keys.items() if key != "password"}
        project.configure(
            snowflake={**keys, "authenticator": "externalbrowser"},
            postgres=postgres.uri,
            tables=[{"source": "D.PUBLIC.T000", "target": "public.t000"}],
        )
        missing = dict.fromkeys(("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "JPY_PARENT_PID", "JPY_SESSION_NAME"), "")
        cache = str(project.directory / "kept")
        outcome = project.run(*command, HOME="", SF_TEMPORARY_CREDENTIAL_CACHE_DIR=cache, **missing)
        assert not any(request["path"].endswith("authenticator-request") for request in sandbox.requests())
    assert outcome.code == 3, outcome.stderr
    assert "snowflake.person_needed" in outcome.stderr
    for word in ("no terminal", "DISPLAY", "BROWSER", "Jupyter", "no HOME", "snowmelt login"):
        assert word in outcome.stderr
