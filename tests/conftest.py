"""Fixtures of the whole-program tests: the built binary, one private PostgreSQL, sandboxes, a project directory."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from program import SOMEBODY, Project
from python_fixtures import configured, sales, sales_server  # noqa: F401
from snowmelt_sandbox.postgres import PrivatePostgres

# A runner in the background, or under nohup, hands down ignored signals; the programs under test must get the usual ones.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)

os.environ.update(SOMEBODY)

# The one reason a test may be skipped for: the mission's document is no part of a user's clone.
EXPECTED_SKIP = "seed.md is not here"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that was skipped for any other reason did not prove what it stands for: the run fails."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    unexpected = [report for report in reporter.stats.get("skipped", []) if EXPECTED_SKIP not in str(report.longrepr)]
    for report in unexpected:
        reporter.write_line(f"unexpected skip: {report.nodeid}: {report.longrepr[-1]}", red=True)
    if unexpected and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    with PrivatePostgres(fsync="off") as server:
        yield server


@pytest.fixture
def database(postgres: PrivatePostgres) -> Iterator[psycopg.Connection]:
    """An empty public schema, seen through psycopg in autocommit mode."""
    with psycopg.connect(postgres.uri, autocommit=True) as connection:
        yield connection
        for (schema,) in connection.execute(
            "select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'"
        ).fetchall():
            connection.execute(f'drop schema "{schema}" cascade')
        connection.execute("create schema public")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture(scope="session")
def tpch(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Path]:
    """Gives a data directory for the sandbox with TPC-H at a scale, made once a session."""
    from demo.demo import make_tpch

    made: dict[float, Path] = {}

    def make(scale: float) -> Path:
        if scale not in made:
            directory = tmp_path_factory.mktemp(f"tpch-{scale:g}")
            make_tpch(scale, directory / "TPCH" / "PUBLIC")
            made[scale] = directory
        return made[scale]

    return make
