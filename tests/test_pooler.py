"""Loads through pgbouncer: nothing of ours stays in its server connections, and a pool of one is enough."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from program import Project, exported
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import until

ROWS = 1_300_000  # above the 8 MB of Parquet from which several connections are used


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def pgbouncer(postgres: PrivatePostgres, directory: Path, mode: str, size: int) -> Iterator[str]:
    """The URI of a pooler on loopback before the server's socket."""
    port = free_port()
    directory.chmod(0o755)
    (directory / "users.txt").write_text('"postgres" ""\n')
    (directory / "pgbouncer.ini").write_text(
        f"""[databases]
* = host={postgres.socket_directory} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {directory}/users.txt
pool_mode = {mode}
default_pool_size = {size}
query_wait_timeout = 60
ignore_startup_parameters = extra_float_digits
"""
    )
    # It refuses to be root.
    as_whom = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        as_whom = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    binary = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
    assert binary is not None, "pgbouncer is missing: tools/setup tests installs it"
    with open(directory / "log", "ab") as log:
        process = subprocess.Popen([binary, "-q", str(directory / "pgbouncer.ini")], stdout=log, stderr=log, cwd="/", **as_whom)
        try:

            def answers() -> bool:
                assert process.poll() is None, (directory / "log").read_text()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    return True
                return False

            until(answers)
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = np.random.default_rng(5).integers(-(2**62), 2**62, ROWS)
    return exported(tmp_path_factory.mktemp("pooled"), {"BIG": pa.table({"ID": pa.array(np.arange(ROWS)), "X": values})})


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory that the pooler's account can reach."""
    with tempfile.TemporaryDirectory(prefix="snowmelt-pooler-") as directory:
        yield Path(directory)


@pytest.mark.parametrize(("mode", "size"), [("transaction", 20), ("transaction", 1), ("session", 20), ("session", 1)])
def test_loads_through_a_pooler(
    mode: str, size: int, project: Project, export: Path, outside: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    locks = "select count(*) from pg_locks where locktype = 'advisory'"
    with pgbouncer(postgres, outside, mode, size) as uri:
        for load_mode in ("create", "replace", "truncate", "append"):
            project.configure(postgres=uri, tables=[{"source": "D.PUBLIC.BIG", "target": "public.big", "mode": load_mode}])
            outcome = project.run("import", "--json", "--directory", str(export), "--load-connections", "3")
            assert outcome.code == 0, f"{load_mode}: {outcome.stderr}"
            if size == 1 and load_mode in ("create", "replace"):
                assert "no server connection was free in time" in outcome.stderr
            expected = 2 * ROWS if load_mode == "append" else ROWS
            assert database.execute("select count(*) from big").fetchone() == (expected,)
            assert database.execute(locks).fetchone() == (0,), load_mode
            assert (
                database.execute("select relname from pg_class where relname like '%snowmelt\\_%' and relkind = 'r'").fetchall()
                == []
            )
            # What the pooler gives to the next client is as it was.
            with psycopg.connect(uri, autocommit=True, prepare_threshold=None) as client:
                settings = [
                    client.execute(f"show {name}").fetchone()[0] for name in ("search_path", "lock_timeout", "statement_timeout")
                ]
            assert settings == ['"$user", public', "0", "0"], load_mode
