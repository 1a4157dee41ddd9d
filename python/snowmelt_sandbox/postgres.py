"""A private PostgreSQL cluster on a unix socket in a temporary directory: for the demo, the tests and the benchmarks.

`python -m snowmelt_sandbox.postgres -- COMMAND …` runs COMMAND with SNOWMELT_TEST_POSTGRES set to the cluster's URI.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

DEBIAN_BINARIES = Path("/usr/lib/postgresql/15/bin")


def _binary(name: str) -> str:
    debian = DEBIAN_BINARIES / name
    found = str(debian) if debian.exists() else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is missing: install postgresql-15")
    return found


class PrivatePostgres:
    """Started by `with`; gone, with its files, at the end of it.

    Options are `-c` settings of the server; the defaults leave durability to PostgreSQL's own (fsync on), so that figures
    measured on it mean something. Tests pass fsync=off.
    """

    def __init__(self, **options: str) -> None:
        self.options = {"listen_addresses": "", "max_connections": "50", "log_min_messages": "warning", **options}
        self.directory: Path | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def socket_directory(self) -> str:
        return str(self.directory)

    @property
    def user(self) -> str:
        return "postgres"

    @property
    def uri(self) -> str:
        return f"postgresql://{self.user}@/postgres?host={self.socket_directory}"

    @property
    def environment(self) -> dict[str, str]:
        """PG* variables for psql and libpq."""
        return {"PGHOST": self.socket_directory, "PGUSER": self.user, "PGDATABASE": "postgres"}

    def psql(self, sql: str) -> str:
        """The answer of psql, tuples only, unaligned."""
        command = [_binary("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", self.uri]
        return subprocess.run(command, input=sql, check=True, capture_output=True, text=True).stdout.strip()

    def start_server(self) -> None:
        assert self.directory is not None
        settings = [part for name, value in self.options.items() for part in ("-c", f"{name}={value}")]
        command = [_binary("postgres"), "-D", str(self.directory / "data"), "-k", str(self.directory), *settings]
        with open(self.directory / "log", "ab") as log:
            self._server = self._spawn(command, log)
        for _ in range(600):
            ready = subprocess.run([_binary("pg_isready"), "-q", "-h", str(self.directory)], check=False)
            if ready.returncode == 0:
                return
            if self._server.poll() is not None:
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(0.05)
        raise RuntimeError("the private PostgreSQL did not start:\n" + (self.directory / "log").read_text()[-2000:])

    def stop_server(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is PostgreSQL's fast shutdown; SIGQUIT an immediate one, as a crash."""
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait(60)
            self._server = None

    def __enter__(self) -> PrivatePostgres:
        self.directory = Path(tempfile.mkdtemp(prefix="snowmelt-pg-"))
        try:
            self._give_away(self.directory)
            initdb = [_binary("initdb"), "-D", str(self.directory / "data"), "-U", self.user, "-A", "trust"]
            initdb += ["-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
            done = self._spawn(initdb, subprocess.PIPE)
            output = done.communicate()[0]
            if done.returncode != 0:
                raise RuntimeError("initdb failed:\n" + output.decode())
            self.start_server()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_server()
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None

    # initdb and postgres refuse root: they run as an unprivileged account then.
    def _account(self) -> pwd.struct_passwd | None:
        if os.geteuid() != 0:
            return None
        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(name)
        raise RuntimeError("no unprivileged account to run PostgreSQL as")

    def _give_away(self, directory: Path) -> None:
        if account := self._account():
            os.chown(directory, account.pw_uid, account.pw_gid)
            directory.chmod(0o755)  # the tests, as root or not, reach the socket

    def _spawn(self, command: list[str], output: object) -> subprocess.Popen[bytes]:
        account = self._account()
        who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            start_new_session=True,
            **who,
        )


def main() -> int:
    if len(sys.argv) < 3 or sys.argv[1] != "--":
        print("usage: python -m snowmelt_sandbox.postgres -- COMMAND …", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with PrivatePostgres(fsync="off") as server:
        return subprocess.run(sys.argv[2:], env={**os.environ, "SNOWMELT_TEST_POSTGRES": server.uri}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
