"""Bad input, one row a case: the exit code, a message that names the thing and the remedy, the target as it was, and no file
that looks complete."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import Outcome, Project, signed
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import PATIENCE, Sandbox

ROWS = 1000


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    data = tmp_path_factory.mktemp("data")
    folder = data / "DB" / "PUBLIC"
    folder.mkdir(parents=True)
    numbers = pa.array(range(ROWS), pa.int64())
    names = [f"name {i}" for i in range(ROWS)]
    tables = {
        "GOOD": {"ID": numbers, "NAME": pa.array(names)},
        "LARGE": {"ID": pa.array([*range(ROWS - 1), 2**40], pa.int64()), "NAME": pa.array(names)},
        "NULLS": {"ID": pa.array([*range(ROWS - 1), None], pa.int64()), "NAME": pa.array(names)},
        "NULS": {"ID": numbers, "NAME": pa.array([*names[:-1], "a\0b"])},
        "HUGE": {"ID": pa.array([10**30] * ROWS, pa.decimal128(38, 0)), "NAME": pa.array(names)},
        "NANOS": {"ID": numbers, "AT": pa.array([1] * ROWS, pa.timestamp("ns"))},
        "LONG": {"ID": numbers, "NAME": pa.array([*names[:-1], "x" * 100])},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    with Sandbox("--data", data, "--chunk-max-rows", 300) as server:
        yield server


@dataclass
class Case:
    name: str
    code: int
    says: list[str]  # in the message, in any case of letters
    prepare: Callable[[Workplace], None] = lambda work: None
    command: list[str] = field(default_factory=lambda: ["run"])
    tables: list[dict] = field(default_factory=lambda: [{"source": "DB.PUBLIC.GOOD", "mode": "replace"}])
    extra: str = ""
    target: str | None = "create table good (id bigint, name text)"  # as it is before; must be so after
    exports: bool = False  # the export itself is good: its manifest may stay


@dataclass
class Workplace:
    project: Project
    sandbox: Sandbox
    postgres: PrivatePostgres
    database: psycopg.Connection
    snowflake: dict
    postgres_uri: str
    environment: dict[str, str] = field(default_factory=dict)

    def complete_export(self) -> Path:
        """An export made beforehand; the directory with its manifest."""
        done = self.project.run("export")
        assert done.code == 0, done.stderr
        return self.project.manifests()[0].parent


def snowflake(**keys: object) -> Callable[[Workplace], None]:
    return lambda work: work.snowflake.update(keys)


def configuration(text: str) -> Callable[[Workplace], None]:
    return lambda work: work.project.write(text)


def mode(bits: int) -> Callable[[Workplace], None]:
    return lambda work: (work.project.directory / "snowmelt.toml").chmod(bits)


def foreign_owner(work: Workplace) -> None:
    file = work.project.directory / "snowmelt.toml"
    if os.geteuid() == 0:
        os.chown(file, 65534, 65534)
    else:  # only root gives files away: what others may write is refused for the same reason
        file.chmod(0o666)


def stray_at(rest: str) -> Callable[[Workplace], None]:
    def prepare(work: Workplace) -> None:
        work.postgres_uri = f"postgresql://ana:{rest}"

    return prepare


def no_server(work: Workplace) -> None:
    work.snowflake["port"] = free_port()


def no_postgres(work: Workplace) -> None:
    work.postgres_uri = f"postgresql://someone@127.0.0.1:{free_port()}/app"


def proxy_refuses(work: Workplace) -> None:
    work.snowflake.update(proxy_host="127.0.0.1", proxy_port=free_port(), host="snowflake.invalid", protocol="https")


def postgres_uri(uri: str) -> Callable[[Workplace], None]:
    def change(work: Workplace) -> None:
        work.postgres_uri = uri

    return change


def http_by_variable(work: Workplace) -> None:
    for key in ("host", "port", "protocol"):
        del work.snowflake[key]
    work.environment["SNOWFLAKE_PROTOCOL"] = "http"


def wrong_database(work: Workplace) -> None:
    work.postgres_uri = work.postgres.uri.replace("/postgres?", "/nothing_here?")


def export_is_a_file(work: Workplace) -> None:
    work.project.export.write_text("in the way")


def full_disk(work: Workplace) -> None:
    work.environment["SNOWMELT_TEST_FILE_LIMIT"] = "500"  # bytes a file may have: the same as a full disk to the program


def cut_part(work: Workplace) -> None:
    part = sorted(work.complete_export().glob("*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:-100])


def flip_part(work: Workplace) -> None:
    part = sorted(work.complete_export().glob("*.parquet"))[0]
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 0xFF
    part.write_bytes(bytes(data))


def not_parquet(work: Workplace) -> None:
    directory = work.complete_export()
    part = sorted(directory.glob("*.parquet"))[0]
    part.write_text("x" * part.stat().st_size)


def lose_part(work: Workplace) -> None:
    sorted(work.complete_export().glob("*.parquet"))[0].unlink()


def edit_manifest(change: Callable[[dict], object]) -> Callable[[Workplace], None]:
    def prepare(work: Workplace) -> None:
        file = work.complete_export() / "manifest.json"
        manifest = json.loads(file.read_text())
        change(manifest)
        file.write_text(signed(manifest))

    return prepare


def break_manifest(work: Workplace) -> None:
    file = work.complete_export() / "manifest.json"
    file.write_text(file.read_text()[:-20])


def part_from_elsewhere(work: Workplace) -> None:
    edit_manifest(lambda m: m["parts"][0].update(file="../../etc/passwd"))(work)


def lose_manifest(work: Workplace) -> None:
    (work.complete_export() / "manifest.json").unlink()


def encrypted_export(work: Workplace) -> None:
    assert work.project.run("export", SNOWMELT_PASSWORD="right").code == 0


def encrypted_wrong(work: Workplace) -> None:
    encrypted_export(work)
    work.environment["SNOWMELT_PASSWORD"] = "wrong"


def view_in_the_way(work: Workplace) -> None:
    work.database.execute("create view good as select 1 as id, 'old' as name")


def password_of_postgres(work: Workplace) -> None:
    work.database.execute("drop role if exists locked_out")
    work.database.execute("create role locked_out nologin")
    work.postgres_uri = work.postgres.uri.replace("postgres@", "locked_out@")


def no_privilege(work: Workplace) -> None:
    work.database.execute("drop role if exists reader")
    work.database.execute("create role reader login")
    work.database.execute("grant usage on schema public to reader")
    work.database.execute("grant select on good to reader")
    work.postgres_uri = work.postgres.uri.replace("postgres@", "reader@")


GOOD = {"source": "DB.PUBLIC.GOOD", "mode": "replace"}
TABLE = '[[table]]\nsource = "A.B.C"\n'
NOT_NULL = "create table good (id bigint not null, name text)"
TOML = '[snowflake]\naccount = "a"\nuser = "u"\npassword = "p"\n'


def source(name: str, **keys: object) -> list[dict]:
    return [{"source": f"DB.PUBLIC.{name}", "target": "good", "mode": "replace", **keys}]


CASES = [
    # Configuration
    Case("unknown key", 2, ["snowmelt.toml", "acount", "account"], configuration(TOML.replace("account", "acount") + TABLE)),
    Case("unknown section", 2, ["postgre", "postgres"], extra='[postgre]\nuri = "x"'),
    Case("unknown table key", 2, ["traget", "target"], tables=[{**GOOD, "traget": "x"}]),
    Case("unknown mode", 2, ["overwrite", "replace"], tables=[{**GOOD, "mode": "overwrite"}]),
    Case("wrong type of a value", 2, ["part_size"], configuration(TOML + '[export]\npart_size = "big"\n' + TABLE)),
    Case("not TOML", 2, ["snowmelt.toml:2"], configuration("[snowflake]\naccount = = 3\n")),
    Case("empty configuration", 2, ["[[table]]"], configuration("")),
    Case("no tables", 2, ["[[table]]"], configuration(TOML)),
    Case("missing file", 2, ["nowhere.toml", "--config"], command=["run", "--config", "nowhere.toml"]),
    Case("others may write the file", 2, ["snowmelt.toml", "chmod"], mode(0o666)),
    Case("somebody else's file", 2, ["snowmelt.toml", "config.unsafe_file"], foreign_owner),
    Case("@ in the password of the uri", 2, ["uri", "%40"], stray_at("p%40ss:s3cret@word@127.0.0.1/postgres")),
    Case("@ and / in the password of the uri", 2, ["uri", "%40"], stray_at("pass/s3cret@127.0.0.1/postgres")),
    Case(
        "two tables with one target",
        2,
        ["two tables", "target x"],
        tables=[{**GOOD, "target": "public.x"}, {"source": "DB.PUBLIC.NULS", "target": "x"}],
    ),
    Case("one table twice", 2, ["DB.PUBLIC.GOOD"], tables=[GOOD, {**GOOD, "target": "other"}]),
    Case("source and query", 2, ["source", "query"], tables=[{**GOOD, "query": "select 1"}]),
    Case("neither source nor query", 2, ["source", "query"], tables=[{"target": "x"}]),
    Case("query without a name", 2, ["name"], tables=[{"query": "select 1 as a"}]),
    Case("a source that is no name", 2, ["DB..GOOD"], tables=[{"source": "DB..GOOD"}]),
    Case("a source that climbs", 2, ["../../x"], tables=[{"source": "../../x"}]),
    Case("account missing", 2, ["account"], snowflake(account="")),
    Case("authenticator unknown", 2, ["telepathy", "externalbrowser"], snowflake(authenticator="telepathy")),
    Case(
        "plain http to an account",
        2,
        ["protocol", "in the clear", "127.example.com"],
        snowflake(protocol="http", host="127.example.com"),
    ),
    Case("plain http by a variable", 2, ["protocol", "in the clear", "SNOWFLAKE_PROTOCOL"], http_by_variable),
    *(
        Case(
            f"password in a URI, {form}", 2, ["uri", "percent-encode"], postgres_uri(f"postgresql://ana:{password}@127.0.0.1/app")
        )
        for form, password in {"with an @": "p@c4nary", "with a slash": "1/c4nary", "with both": "p?@c4nary/x"}.items()
    ),
    Case("protocol unknown", 2, ["protocol", "ftp", "https"], snowflake(protocol="ftp")),
    Case("key file missing", 2, ["private_key_file"], snowflake(authenticator="snowflake_jwt")),
    Case("unknown --table", 1, ["--table", "nothing"], command=["run", "--table", "nothing"]),
    Case("unknown command", 1, [], command=["jump"]),
    Case("unknown flag", 1, ["--fast"], command=["run", "--fast"]),
    Case("--jobs out of range", 1, ["--jobs"], command=["run", "--jobs", "0"]),
    # Reaching the servers
    Case("wrong password", 3, ["password"], snowflake(password="not this one")),
    Case("no server", 4, ["127.0.0.1"], no_server),
    Case("proxy refuses", 4, ["proxy"], proxy_refuses),
    Case("no PostgreSQL", 4, ["postgres", "running"], no_postgres),
    Case("no such database", 2, ["nothing_here"], wrong_database),
    Case("PostgreSQL refuses the user", 3, ["locked_out"], password_of_postgres),
    Case("no privilege", 8, ["grant insert on table", "good"], no_privilege, tables=[{**GOOD, "mode": "truncate"}], exports=True),
    # The source
    Case("table missing in Snowflake", 5, ["DB.PUBLIC.NOTHING"], tables=[{"source": "DB.PUBLIC.NOTHING"}]),
    Case("column missing in Snowflake", 5, ["nothing"], tables=[{"query": "select nothing from DB.PUBLIC.GOOD", "name": "q"}]),
    Case("query with a mistake", 5, ["q"], tables=[{"query": "selec 1", "name": "q"}]),
    Case("number beyond bigint", 7, ["ID", "integers"], tables=source("HUGE")),
    Case("digits below the microsecond", 7, ["AT", "on_subsecond"], tables=source("NANOS"), target=None),
    # The target
    Case("create over a table", 8, ["exists", "replace"], tables=[{"source": "DB.PUBLIC.GOOD"}], exports=True),
    Case(
        "truncate without a table",
        8,
        ["public.missing", "create"],
        tables=[{**GOOD, "target": "missing", "mode": "truncate"}],
        exports=True,
    ),
    Case(
        "append without a table",
        8,
        ["public.missing", "create"],
        tables=[{**GOOD, "target": "missing", "mode": "append"}],
        exports=True,
    ),
    Case("a view as target", 8, ["view"], view_in_the_way, target=None, exports=True),
    Case("column missing in PostgreSQL", 7, ["no column name"], target="create table good (id bigint)", exports=True),
    Case(
        "type that cannot take the value",
        7,
        ["column name", "boolean"],
        target="create table good (id bigint, name boolean)",
        exports=True,
    ),
    Case(
        "all type problems at once",
        7,
        ["column id", "column name"],
        target="create table good (id date, name boolean)",
        exports=True,
    ),
    Case("NOT NULL violated", 7, ["column id", "row", "NOT NULL"], tables=source("NULLS"), target=NOT_NULL, exports=True),
    Case(
        "NOT NULL column that the source lacks",
        7,
        ["column needed"],
        target="create table good (id bigint, name text, needed text not null)",
        exports=True,
    ),
    Case(
        "number out of range",
        7,
        ["column id", "row", "integer"],
        tables=source("LARGE"),
        target="create table good (id integer, name text)",
        exports=True,
    ),
    Case("NUL in text", 7, ["column name", "row", "NUL"], tables=source("NULS"), exports=True),
    Case(
        "text too long",
        7,
        ["column name", "row", "character varying(20)"],
        tables=source("LONG"),
        target="create table good (id bigint, name varchar(20))",
        exports=True,
    ),
    Case("check violated", 8, ["good_id_check"], target="create table good (id bigint check (id < 5), name text)", exports=True),
    Case(
        "unique violated",
        8,
        ["duplicate key"],
        tables=source("GOOD", mode="append"),
        target="create table good (id bigint primary key, name text)",
        exports=True,
    ),
    # Files
    Case("directory is a file", 6, ["export"], export_is_a_file),
    Case("disk full", 6, ["part-"], full_disk, command=["export"]),
    Case("no export", 6, ["manifest", "DB.PUBLIC.GOOD"], command=["import"]),
    Case("manifest gone", 6, ["manifest"], lose_manifest, command=["import"]),
    Case("manifest cut short", 6, ["manifest.json"], break_manifest, command=["import"], exports=True),
    Case(
        "manifest edited: rows", 6, ["manifest.json"], edit_manifest(lambda m: m.update(rows=5)), command=["import"], exports=True
    ),
    Case(
        "manifest edited: digest",
        11,
        ["part-"],
        edit_manifest(lambda m: m["parts"][0].update(sha256="0" * 64)),
        command=["import"],
        exports=True,
    ),
    Case("manifest points elsewhere", 6, ["manifest.json"], part_from_elsewhere, command=["import"], exports=True),
    Case("part cut short", 11, ["part-"], cut_part, command=["import"], exports=True),
    Case("part changed", 11, ["part-"], flip_part, command=["import"], exports=True),
    Case("part is not Parquet", 11, ["part-"], not_parquet, command=["import"], exports=True),
    Case("part gone", 6, ["part-"], lose_part, command=["import"], exports=True),
    Case("encrypted, no password", 6, ["password"], encrypted_export, command=["import"], exports=True),
    Case("encrypted, wrong password", 6, ["password"], encrypted_wrong, command=["import"], exports=True),
]


def run_limited(work: Workplace, command: list[str]) -> Outcome:
    import resource

    limit = int(work.environment.pop("SNOWMELT_TEST_FILE_LIMIT", "0"))

    def before() -> None:
        if limit:
            import signal

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = work.project.start(*command, environment=work.environment, preexec_fn=before)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return Outcome(process.returncode, stdout, stderr)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(
    case: Case, project: Project, sandbox: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    work = Workplace(project, sandbox, postgres, database, dict(sandbox.connection_keys), postgres.uri)
    if case.target:
        database.execute(case.target)
        columns = [
            row[0]
            for row in database.execute("select attname from pg_attribute where attrelid = 'good'::regclass and attnum > 0")
        ]
        values = {"id": "1", "name": "'old'", "needed": "'old'"}
        if "date" not in case.target and "boolean" not in case.target:
            database.execute(f"insert into good ({', '.join(columns)}) values ({', '.join(values[c] for c in columns)})")
    project.configure(snowflake=work.snowflake, postgres=work.postgres_uri, tables=case.tables, extra=case.extra)
    case.prepare(work)
    if work.snowflake != sandbox.connection_keys or work.postgres_uri != postgres.uri:
        project.configure(snowflake=work.snowflake, postgres=work.postgres_uri, tables=case.tables, extra=case.extra)
    before = database.execute("select * from good").fetchall() if case.target else None

    done = run_limited(work, case.command)

    message = done.stderr + done.stdout
    assert done.code == case.code, message
    for words in case.says:
        assert words.lower() in message.lower()
    assert "Traceback" not in message and "terminate called" not in message and "c4nary" not in message
    for secret in ('snowmelt"', "not this one", "right", "wrong"):
        assert f'password = "{secret}' not in message
    assert "s3cret" not in message
    if case.target:
        assert database.execute("select * from good").fetchall() == before
    assert case.exports or project.manifests() == []
    assert [f for f in project.directory.rglob("*.tmp") if "home" not in f.parts] == []


def test_hostile_names_stay_inside_the_export_directory(project: Project, sandbox: Sandbox) -> None:
    names = ["../up", "a/b", "..", ".", "con", "x" * 200, "tab\there", "ünï", "%2e", "a\\b", "-rf", "CON.", "new\nline"]
    tables = [{"query": "select 1 as a", "name": name} for name in names]
    project.configure(snowflake=sandbox.connection_keys, tables=tables)
    done = project.run("export", "--json")
    assert done.code == 0, done.stderr
    inside = {manifest.parent.parent for manifest in project.manifests()}
    assert inside == {project.export}
    assert len(project.manifests()) == len(names)


def test_terminal_gone_and_stdin_closed(project: Project, sandbox: Sandbox) -> None:
    """Nobody reads the output, nothing can be asked: the work is done all the same, or ended by SIGHUP."""
    project.configure(snowflake=sandbox.connection_keys, tables=[{"source": "DB.PUBLIC.GOOD"}])
    with open(os.devnull, "w") as nowhere:
        process = project.start(
            "export", stdin=None, stdout=nowhere, stderr=nowhere, close_fds=True, preexec_fn=lambda: os.close(0)
        )
        assert process.wait(PATIENCE) == 0
    assert len(project.manifests()) == 1


def test_a_closed_pipe_does_not_end_the_work(project: Project, sandbox: Sandbox) -> None:
    project.configure(snowflake=sandbox.connection_keys, tables=[{"source": "DB.PUBLIC.GOOD"}])
    reader, writer = os.pipe()
    os.close(reader)
    process = project.start("export", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 6, errors  # the summary was not written; the export is complete
    assert len(project.manifests()) == 1
    assert not project.unfinished()
