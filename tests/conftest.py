"""Fixtures of the whole-program tests: the built binary, one private PostgreSQL, sandboxes, a project directory."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from snowmelt_sandbox.postgres import PrivatePostgres

ROOT = Path(__file__).resolve().parent.parent
SNOWMELT = ROOT / "build" / "snowmelt"


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


@dataclass
class Outcome:
    code: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict:
        return json.loads(self.stdout)


@dataclass
class Project:
    """A directory with a snowmelt.toml, and the command run in it."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def configure(
        self, *, snowflake: dict | None = None, postgres: str | None = None, tables: list[dict] = (), extra: str = ""
    ) -> None:
        def section(name: str, keys: dict) -> list[str]:
            return [name, *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]

        lines = section("[snowflake]", snowflake or {})
        lines += section("[postgres]", {"uri": postgres} if postgres else {})
        lines += section("[export]", {"directory": str(self.export)})
        lines.append(extra)
        for table in tables:
            lines += section("[[table]]", table)
        self.write("\n".join(lines) + "\n")

    def write(self, text: str) -> None:
        (self.directory / "snowmelt.toml").write_text(text)
        (self.directory / "snowmelt.toml").chmod(0o600)

    @property
    def export(self) -> Path:
        return self.directory / "export"

    def manifests(self) -> list[Path]:
        return sorted(self.directory.rglob("*manifest*"))

    def command(self, *arguments: str) -> list[str]:
        return [str(SNOWMELT), *arguments]

    def run(self, *arguments: str, timeout: float = 120, **environment: str) -> Outcome:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.directory,
            env={**os.environ, **self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


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
