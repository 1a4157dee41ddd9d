"""Fixtures of the whole-program tests: the built binary, one private PostgreSQL, sandboxes, a project directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from program import Project
from python_fixtures import configured, sales, sales_server  # noqa: F401
from snowmelt_sandbox.postgres import PrivatePostgres


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
