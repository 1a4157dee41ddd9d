"""The files that a run reads and writes: whose they are, what they may be, who holds them, and what a failing system leaves."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import Outcome, Project, signed
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import Sandbox

ROWS = 1000
WIDE_ROWS = 150_000
KINDS = ("fsync", "open", "write", "read", "thread")
ALL = bool(os.environ.get("SNOWMELT_ALL_FAULTS"))  # every k, instead of three of each kind
DEAD = "part-20250101T000000-deadbeef-00000.parquet"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    data = tmp_path_factory.mktemp("data")
    folder = data / "DB" / "PUBLIC"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"ID": range(ROWS), "NAME": [f"name {i}" for i in range(ROWS)]}), folder / "GOOD.parquet")
    numbers = random.Random(1)
    texts = [numbers.randbytes(48).hex() for _ in range(WIDE_ROWS)]  # does not compress below the half
    pq.write_table(pa.table({"ID": range(WIDE_ROWS), "A": texts, "B": texts[::-1]}), folder / "WIDE.parquet")
    with Sandbox("--data", data, "--chunk-max-rows", 300) as server:
        yield server


@pytest.fixture
def job(project: Project, sandbox: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection) -> Iterator[Project]:
    configure(project, sandbox, postgres)
    database.execute("create table good (id bigint, name text)")
    database.execute("insert into good values (-1, 'before')")
    yield project
    sandbox.clear_faults()


def configure(project: Project, sandbox: Sandbox, postgres: PrivatePostgres, table: str = "GOOD", **export: str) -> None:
    project.configure(
        snowflake=sandbox.connection_keys,
        postgres=postgres.uri,
        tables=[{"source": f"DB.PUBLIC.{table}", "mode": "replace"}],
        extra="".join(f"{key} = {json.dumps(value)}\n" for key, value in export.items()),
    )


def exported(project: Project, **environment: str) -> Path:
    done = project.run("export", **environment)
    assert done.code == 0, done.stderr
    return project.manifests()[0].parent


def content(database: psycopg.Connection) -> tuple[int, int]:
    return database.execute("select count(*), min(id) from good").fetchone()


BEFORE, LOADED = (1, -1), (ROWS, 0)


def assert_whole(project: Project) -> None:
    (manifest,) = project.manifests()
    for part in json.loads(manifest.read_text())["parts"]:
        assert hashlib.sha256((manifest.parent / part["file"]).read_bytes()).hexdigest() == part["sha256"]


def python(script: str, environment: dict[str, str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


# ---- who may read ----


@pytest.mark.parametrize(
    ("permissions", "file", "folder"), [(None, 0o600, 0o700), ("group", 0o640, 0o750), ("umask", 0o644, 0o755)]
)
def test_permissions(
    permissions: str | None, file: int, folder: int, job: Project, sandbox: Sandbox, postgres: PrivatePostgres
) -> None:
    if permissions:
        configure(job, sandbox, postgres, permissions=permissions)
    before = os.umask(0o022)
    try:
        directory = exported(job)
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (directory.parent, directory, *directory.iterdir())}
    assert {path.name: oct(mode) for path, mode in modes.items() if mode != (folder if path.is_dir() else file)} == {}
    assert len(modes) > 3


def test_a_directory_that_exists_keeps_its_mode(job: Project) -> None:
    job.export.mkdir(mode=0o755)
    job.export.chmod(0o755)
    directory = exported(job)
    assert stat.S_IMODE(job.export.stat().st_mode) == 0o755
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("permissions", "mode", "remedy"),
    [
        ("private", 0o755, "700"),
        ("private", 0o710, "700"),
        ("private", 0o1777, None),
        ("group", 0o755, "750"),
        ("group", 0o750, None),
        ("umask", 0o777, None),
    ],
)
def test_a_directory_that_lets_others_in_is_warned_of_once(
    permissions: str, mode: int, remedy: str | None, job: Project, sandbox: Sandbox, postgres: PrivatePostgres
) -> None:
    tables = [{"source": f"DB.PUBLIC.{name}", "mode": "replace"} for name in ("GOOD", "WIDE")]
    job.configure(
        snowflake=sandbox.connection_keys, postgres=postgres.uri, tables=tables, extra=f"permissions = {json.dumps(permissions)}"
    )
    job.export.mkdir()
    job.export.chmod(mode)
    done = job.run("export")
    assert done.code == 0, done.stderr
    assert done.stderr.count("others may look into") == (remedy is not None), done.stderr
    assert remedy is None or f"chmod {remedy} {job.export}" in done.stderr
    assert stat.S_IMODE(job.export.stat().st_mode) == mode % 0o1000 or mode == 0o1777


def test_configuration_through_a_pipe_of_the_shell(job: Project) -> None:
    text = job.directory / "other.toml"
    (job.directory / "snowmelt.toml").rename(text)
    command = f"{job.command()[0]} export --config <(cat other.toml)"
    done = subprocess.run(
        ["bash", "-c", command], cwd=job.directory, env=job.variables(), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert_whole(job)


# ---- what a file may be ----


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def link(target: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return make


def link_to_itself_elsewhere(path: Path) -> None:
    elsewhere = path.parent.parent / f"elsewhere-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("become", [fifo, link("/dev/zero"), link_to_itself_elsewhere], ids=["fifo", "zero", "link"])
@pytest.mark.parametrize("name", ["part", "manifest", "lock"])
def test_special_files_end_an_import_at_once(
    name: str, become: Callable[[Path], None], job: Project, database: psycopg.Connection
) -> None:
    directory = exported(job)
    file = {"part": sorted(directory.glob("*.parquet"))[0], "manifest": directory / "manifest.json", "lock": directory / ".lock"}
    become(file[name])
    outcome = job.run("import")
    assert outcome.code == 6, outcome.stderr
    assert file[name].name in outcome.stderr
    assert "not a regular file" in outcome.stderr or "symbolic link" in outcome.stderr
    assert outcome.stderr.count("error:") == 1
    assert content(database) == BEFORE


@pytest.mark.parametrize("command", ["export", "import"])
def test_a_lock_that_is_a_link_makes_nothing(command: str, job: Project) -> None:
    directory = exported(job)
    (directory / ".lock").unlink()
    (directory / ".lock").symlink_to(job.directory / "made")
    outcome = job.run(command)
    assert outcome.code == 6 and ".lock" in outcome.stderr, outcome.stderr
    assert not (job.directory / "made").exists()


def test_a_temporary_name_of_another_file_is_not_written_to(job: Project) -> None:
    directory = exported(job)
    mine = job.directory / "mine.txt"
    mine.write_text("mine")
    os.link(mine, directory / ".publishing.tmp")
    exported(job)
    assert mine.read_text() == "mine"
    assert not (directory / ".publishing.tmp").exists()


def test_closed_descriptors_are_not_taken_for_files(job: Project) -> None:
    """The log of `--verbose` went into a part that had got the number of stderr."""
    command = [*job.command("export", "--verbose")]
    script = 'exec "$@" 0<&- 1>&- 2>&-'
    done = subprocess.run(
        ["bash", "-c", script, "closed", *command], cwd=job.directory, env=job.variables(), timeout=120, check=False
    )
    assert done.returncode == 6  # the report could not be written
    assert_whole(job)
    assert all(b"debug:" not in file.read_bytes() for file in job.directory.rglob("*") if file.is_file())


# ---- who made it ----


@pytest.mark.parametrize("forged", ["parts", "parts and manifest", "a comment", "salt"])
def test_an_encrypted_export_that_somebody_else_changed(forged: str, job: Project, database: psycopg.Connection) -> None:
    password = {"SNOWMELT_PASSWORD": "of the files"}
    directory = exported(job, **password)
    file = directory / "manifest.json"
    manifest = json.loads(file.read_text())
    if forged.startswith("parts"):
        for part in manifest["parts"]:
            pq.write_table(pa.table({"ID": range(part["rows"]), "NAME": ["foreign"] * part["rows"]}), directory / part["file"])
            body = (directory / part["file"]).read_bytes()
            part.update(bytes=len(body), sha256=hashlib.sha256(body).hexdigest())
        manifest["bytes"] = sum(part["bytes"] for part in manifest["parts"])
        if forged == "parts":
            file.write_text(json.dumps(manifest))
        else:
            del manifest["hmac_sha256"], manifest["salt"], manifest["scrypt"]
            file.write_text(signed({**manifest, "encrypted": False}))
    else:
        manifest.update({"query_id": "other"} if forged == "a comment" else {"salt": "00" * 16})
        file.write_text(json.dumps(manifest))
    outcome = job.run("import", **password)
    assert outcome.code == 6 and "manifest" in outcome.stderr and "hint" in outcome.stderr, outcome.stderr
    assert content(database) == BEFORE


def test_a_password_refuses_a_plain_part(job: Project, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    part = sorted(exported(job).glob("*.parquet"))[0]
    script = f"""
import snowmelt
with snowmelt.PostgresConnectionManager(uri={postgres.uri!r}) as manager:
    try:
        snowmelt.PostgreSQLDataLoader(manager).load_parquet_to_table({str(part)!r}, 'public.good', mode='append', password='pw')
    except snowmelt.FileError as error:
        print(error.code)
"""
    done = python(script, job.variables())
    assert "parquet.not_encrypted" in done.stdout, done.stdout + done.stderr
    assert content(database) == BEFORE


def test_an_edited_manifest_is_noticed(job: Project, database: psycopg.Connection) -> None:
    file = exported(job) / "manifest.json"
    manifest = json.loads(file.read_text())
    file.write_text(json.dumps({**manifest, "comment": "another one"}))
    outcome = job.run("import")
    assert outcome.code == 11 and "manifest.json" in outcome.stderr, outcome.stderr
    assert content(database) == BEFORE
    file.write_text(signed(manifest))  # the digest is as documented
    assert job.run("import").code == 0


# ---- who holds it ----


@pytest.mark.parametrize("command", ["import", "run"])
def test_an_export_beside_a_load_waits_for_another_time(
    command: str, job: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    exported(job)
    with psycopg.connect(postgres.uri) as blocker:
        blocker.execute("lock table good in access exclusive mode")
        loading = job.start(command)
        until(lambda: database.execute("select count(*) from pg_locks where not granted").fetchone()[0] > 0)
        until(lambda: command == "import" or len(job.unfinished()) == 0)
        beside = job.run("export", "--wait", "0")
        assert beside.code == 12 and "loads from it" in beside.stderr, beside.stderr
    stdout, stderr = loading.communicate(timeout=120)
    assert loading.returncode == 0, stderr
    assert content(database) == LOADED
    assert job.run("export").code == 0


@pytest.mark.parametrize("command", ["import", "run"])
def test_a_load_waits_for_the_export_before_it(
    command: str, job: Project, sandbox: Sandbox, database: psycopg.Connection
) -> None:
    exported(job)
    sandbox.fault("query", "delay", seconds=60, sql="GOOD")
    first = job.start("export")
    try:
        until(lambda: any(fault["fired"] for fault in sandbox.faults()))
        refused = job.run(command, "--wait", "0")
        assert refused.code == 12 and "--wait" in refused.stderr, refused.stderr
        second = job.start(command)
        assert "waiting for another run that exports into this directory" in second.stderr.readline()
        sandbox.clear_faults()
        first.send_signal(signal.SIGINT)
        stderr = second.communicate(timeout=120)[1]
        assert second.returncode == 0, stderr
        assert content(database) == LOADED
    finally:
        first.kill()
        first.communicate()


def test_leftovers_of_dead_exports_are_swept_at_the_start(job: Project, sandbox: Sandbox) -> None:
    """Also by an export that fails: on a nearly full disk no retry could succeed otherwise."""
    directory = exported(job)
    for name in (DEAD, f"{DEAD}.tmp", ".publishing.tmp", "mine.parquet"):
        (directory / name).write_bytes(b"x" * 1000)
    sandbox.fault("query", "delay", seconds=60, sql="GOOD")
    process = job.start("export")
    until(lambda: any(fault["fired"] for fault in sandbox.faults()))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert not any((directory / name).exists() for name in (DEAD, f"{DEAD}.tmp", ".publishing.tmp"))
    assert (directory / "mine.parquet").exists()
    (directory / "mine.parquet").unlink()
    assert_whole(job)


# ---- a system that fails ----


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shim") / "fail_kth.so"
    source = Path(__file__).with_name("fail_kth.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library


class Faults:
    def __init__(self, job: Project, shim: Path) -> None:
        self.job, self.shim, self.counts = job, shim, job.directory / "home" / "counts"

    def run(self, *command: str, call: str = "", at: int = 0) -> Outcome:
        return self.job.run(*command, **self.environment(call, at))

    def environment(self, call: str = "", at: int = 0) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self.shim),
            "FAIL_CALL": call,
            "FAIL_AT": str(at),
            "FAIL_UNDER": str(self.job.directory),
            "FAIL_COUNTS": str(self.counts),
        }

    def counted(self) -> dict[str, int]:
        return {kind: int(number) for kind, number in (line.split() for line in self.counts.read_text().splitlines())}


def chosen(total: int, seed: str) -> list[int]:
    if ALL or total < 4:
        return list(range(1, total + 1))
    return [1, random.Random(seed).randint(2, total - 1), total]


@pytest.mark.parametrize("command", ["export", "import", "run"])
def test_each_call_that_fails_is_one_clear_error(command: str, job: Project, shim: Path, database: psycopg.Connection) -> None:
    faults = Faults(job, shim)
    exported(job)
    whole = faults.run(command)
    assert whole.code == 0, whole.stderr
    counts = faults.counted()
    assert counts["open"] > 3 and counts["read"] > 3 and counts["thread"] > 1
    assert command == "import" or (counts["fsync"] > 3 and counts["write"] > 3)
    for kind in KINDS:
        for k in chosen(counts[kind], command + kind):
            database.execute("truncate good")
            database.execute("insert into good values (-1, 'before')")
            outcome = faults.run(command, call=kind, at=k)
            context = f"{command}: {kind} {k} of {counts[kind]}: exit {outcome.code}\n{outcome.stderr}"
            assert_whole(job)
            if outcome.code == 0:  # what could be done without, or was tried again
                assert command == "export" or content(database) == LOADED, context
                exported(job)  # sweeps the earlier parts that were kept for a power failure
            else:
                assert outcome.code == (2 if "config.unreadable" in outcome.stderr else 6), context
                assert outcome.stderr.count("error:") == 1, context
                assert content(database) == BEFORE, context
            assert job.unfinished() == [], context


def test_a_sync_that_fails_after_the_rename_keeps_the_export(job: Project, shim: Path) -> None:
    """The manifest in place named parts that the failed export had taken away, and the earlier export's were gone as well."""
    exported(job)
    faults = Faults(job, shim)
    assert faults.run("export").code == 0
    outcome = faults.run("export", call="fsync", at=faults.counted()["fsync"])
    assert outcome.code == 0 and "power failure" in outcome.stderr, outcome.stderr
    assert_whole(job)
    assert len(job.unfinished()) > 0  # of the earlier export, whose manifest a power failure might bring back
    exported(job)
    assert job.unfinished() == []


def test_a_missing_thread_ends_a_parallel_load(
    job: Project, sandbox: Sandbox, postgres: PrivatePostgres, shim: Path, database: psycopg.Connection
) -> None:
    configure(job, sandbox, postgres, "WIDE")
    exported(job)
    faults = Faults(job, shim)
    command = ("import", "--load-connections", "3")
    assert faults.run(*command).code == 0
    total = faults.counted()["thread"]
    assert total >= 6  # three connections, three encoders
    ended = 0
    for k in range(1, total + 1):
        outcome = faults.run(*command, call="thread", at=k)
        ended += outcome.code == 6
        assert outcome.code in (0, 6), f"thread {k} of {total}: {outcome}"  # 0: the allocator goes on without its own
        assert outcome.code == 0 or (outcome.stderr.count("error:"), "thread" in outcome.stderr) == (1, True), outcome
        assert database.execute("select count(*) from wide").fetchone()[0] == WIDE_ROWS
        assert database.execute("select count(*) from pg_class where relname ~ 'snowmelt'").fetchone()[0] == 0
    assert ended >= 6


def test_a_missing_thread_ends_a_fetch(job: Project, sandbox: Sandbox, shim: Path) -> None:
    """The threads that were made waited for a reader that never came; and it is an error of ours, not a bare RuntimeError."""
    script = f"""
import snowmelt
try:
    with snowmelt.SnowflakeConnectionManager(**{sandbox.connection_keys!r}) as manager:
        cursor = manager.get_connection().cursor()
        for fetch in (cursor.fetchall, cursor.fetch_arrow_table):
            cursor.execute("select * from DB.PUBLIC.GOOD")
            print(len(fetch()))
except snowmelt.Error as error:
    print(type(error).__name__, error.code)
"""
    faults = Faults(job, shim)

    def fetch(at: int) -> subprocess.CompletedProcess:
        # NumPy's own threads are none of ours.
        return python(script, job.variables(**faults.environment("thread", at), OPENBLAS_NUM_THREADS="1"))

    assert fetch(0).stdout.split() == [str(ROWS)] * 2
    total = faults.counted()["thread"]
    missed = 0
    for k in chosen(total, "fetch") if ALL else range(max(1, total - 9), total + 1):
        done = fetch(k)
        assert done.returncode == 0, (k, total, done)
        last = done.stdout.splitlines()[-1]
        assert last in (str(ROWS), "FileError system.no_thread"), (k, total, done)
        missed += last != str(ROWS)
    assert missed > 0
