"""Several connections fill one table: the same table, published at once, whatever happens on the way."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import PATIENCE, Sandbox, until

import snowmelt

ROWS = 1_500_000  # of some 20 bytes: above the 8 MB of Parquet from which several connections are used
SUM = "select count(*), sum(id), bit_xor(hashtextextended(id || ':' || a || ':' || b || ':' || coalesce(t, '-'), 0)) from {}"
STAGING = "select relname from pg_class where relname like '%\\_snowmelt\\_%'"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    data = tmp_path_factory.mktemp("big")
    (data / "D" / "PUBLIC").mkdir(parents=True)
    random = np.random.default_rng(7)
    values = [random.integers(-(2**63), 2**63 - 1, ROWS) for _ in range(2)]
    text = pa.array([None if i % 1000 == 999 else f"row {i}" for i in range(ROWS)])
    schema = pa.schema([pa.field("ID", pa.int64(), False), ("A", pa.int64()), ("B", pa.int64()), ("T", pa.string())])
    schema = schema.with_metadata({"snowflake.primary_key": "ID", "snowflake.comment": "big"})
    table = pa.table([pa.array(np.arange(ROWS)), *map(pa.array, values), text], schema=schema)
    pq.write_table(table, data / "D" / "PUBLIC" / "BIG.parquet")
    with Sandbox("--data", data, "--chunk-max-rows", 30_000) as sandbox:
        yield sandbox


@pytest.fixture
def big(project: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection) -> Iterator[Project]:
    configure(project, server, postgres)
    yield project
    server.clear_faults()


@pytest.fixture(scope="module", autouse=True)
def statements_in_the_log(postgres: PrivatePostgres) -> Iterator[None]:
    """How many connections have copied is read there afterwards: whoever looks while they do may come too late."""
    with psycopg.connect(postgres.uri, autocommit=True) as connection:
        connection.execute("alter database postgres set log_statement = 'all'")
        yield
        connection.execute("alter database postgres reset log_statement")


def configure(project: Project, server: Sandbox, postgres: PrivatePostgres, connections: int = 3, **table: str) -> None:
    project.configure(
        snowflake=server.connection_keys,
        postgres=postgres.uri,
        tables=[{"source": "D.PUBLIC.BIG", "target": "public.big", **table}],
        extra=f"load_connections = {connections}\n[defaults]\n",
    )
    # The key belongs to [postgres]: moved there from the end of the sections.
    text = (project.directory / "snowmelt.toml").read_text()
    line = f"load_connections = {connections}\n"
    project.write(text.replace(line, "").replace("[postgres]\n", "[postgres]\n" + line))


class Watch:
    """How many connections have copied, and what a reader saw meanwhile."""

    def __init__(self, postgres: PrivatePostgres, table: str = "big") -> None:
        self._uri, self._table, self._done = postgres.uri, table, threading.Event()
        self._log = postgres.directory / "log"
        self.copying, self.counts = 0, set()

    def __enter__(self) -> Watch:
        self._copies_before = self._copies()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.copying = self._copies() - self._copies_before

    def _copies(self) -> int:
        return len(re.findall(r"LOG:  statement: copy ", self._log.read_text(errors="replace")))

    def _look(self) -> None:
        with psycopg.connect(self._uri, autocommit=True) as connection:
            while not self._done.wait(0.02):
                if connection.execute("select to_regclass(%s)", (self._table,)).fetchone()[0]:
                    self.counts.add(connection.execute(f"select count(*) from {self._table}").fetchone()[0])


def nothing_left(database: psycopg.Connection) -> bool:
    return database.execute(STAGING).fetchall() == []


@pytest.mark.parametrize("command", ["run", "import"])
def test_the_same_table_as_one_connection_makes(
    command: str, big: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    if command == "import":
        assert big.run("export").code == 0
    with Watch(postgres) as watch:
        outcome = big.run(command, "--json")
    assert outcome.code == 0, outcome.stderr
    assert outcome.report["tables"][0]["rows"] == ROWS
    assert 2 <= watch.copying <= 3
    assert watch.counts <= {ROWS}, "a reader saw a table that was not finished"
    several = database.execute(SUM.format("big")).fetchone()
    key = database.execute("select pg_get_constraintdef(oid) from pg_constraint where conrelid = 'big'::regclass").fetchall()
    assert key == [("PRIMARY KEY (id)",)]
    assert database.execute("select obj_description('big'::regclass)").fetchone() == ("big",)
    database.execute("drop table big")
    with Watch(postgres) as watch:
        assert big.run("import", "--load-connections", "1").code == 0
    assert watch.copying == 1
    assert database.execute(SUM.format("big")).fetchone() == several
    assert nothing_left(database)


def test_replace_keeps_what_people_made_of_the_table(
    big: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    database.execute("create table big (id bigint primary key, a bigint, b bigint, t text default 'x')")
    database.execute(
        "create index by_a on big (a) where b > 0; comment on table big is 'ours'; insert into big values (-1, 0, 0, 'old')"
    )
    configure(big, server, postgres, mode="replace")
    with Watch(postgres) as watch:
        outcome = big.run("run", "--json")
    assert outcome.code == 0, outcome.stderr
    assert watch.copying >= 2
    assert watch.counts <= {1, ROWS}
    assert database.execute("select count(*), min(id) from big").fetchone() == (ROWS, 0)
    assert database.execute("select obj_description('big'::regclass)").fetchone() == ("ours",)
    assert [r[0] for r in database.execute("select indexname from pg_indexes where tablename = 'big' order by 1")] == [
        "big_pkey",
        "by_a",
    ]
    # What another one's rows forbid is found at the end, and nothing has changed then.
    database.execute(
        "drop table big; create table big (id bigint, a bigint, b bigint, t text unique); insert into big values (1)"
    )
    database.execute("alter table big add constraint few check (id < 500000)")
    outcome = big.run("import", "--json")
    assert outcome.code == 8
    assert "few" in outcome.stderr
    assert database.execute("select count(*) from big").fetchone() == (1,)
    assert nothing_left(database)


@pytest.mark.parametrize("mode", ["truncate", "append"])
def test_other_modes_are_one_transaction(
    mode: str, big: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    database.execute("create table big (id bigint, a bigint, b bigint, t text)")
    configure(big, server, postgres, mode=mode)
    with Watch(postgres) as watch:
        assert big.run("run", "--json").code == 0
    assert watch.copying == 1
    assert watch.counts <= {0, ROWS}


def test_a_callers_manager_is_one_connection(
    big: Project, postgres: PrivatePostgres, database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert big.run("export").code == 0
    monkeypatch.chdir(big.directory)
    with Watch(postgres) as watch, snowmelt.PostgresConnectionManager(uri=postgres.uri) as manager:
        report = snowmelt.import_table({"source": "D.PUBLIC.BIG", "target": "public.big"}, None, big.export, manager)
    assert report.rows == ROWS
    assert watch.copying == 1


def test_a_value_in_a_late_part_names_its_row_in_the_whole_table(
    big: Project, tmp_path: Path, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    database.execute("create table big (id integer, a bigint, b bigint, t varchar(9))")  # "row 100000" has ten characters
    text = (big.directory / "snowmelt.toml").read_text()
    big.write(text.replace("[[table]]\n", '[[table]]\nmode = "replace"\n'))
    assert big.run("export").code == 0
    outcome = big.run("import", "--json")
    assert outcome.code == 7
    assert "column t, row " in outcome.stderr
    row = int(re.search(r"column t, row (\d+)", outcome.stderr)[1])
    parts = sorted(p["file"] for p in __import__("json").loads(big.manifests()[0].read_text())["parts"])
    read = [pq.read_table(next(big.export.rglob(name)), columns=["T"]) for name in parts]
    lengths = pc.utf8_length(pa.concat_tables(read).column("T"))
    assert row == 1 + pc.index(pc.greater(lengths, 9), True).as_py(), "the lowest of the rows that cannot be kept"
    assert nothing_left(database)
    assert database.execute("select count(*) from big").fetchone() == (0,)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_ended_in_the_middle_and_run_again(
    end: signal.Signals, big: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    server.fault("chunk", "hold", after=30, times=-1)
    process = big.start("run")
    copying = "select count(*) > 1 and max(tuples_processed) > 1000 from pg_stat_progress_copy"
    until(lambda: database.execute(copying).fetchone()[0])
    os.kill(process.pid, end)
    process.communicate()
    server.clear_faults()
    assert database.execute("select to_regclass('big')").fetchone()[0] is None
    if end == signal.SIGINT:
        assert process.returncode == 130
        assert nothing_left(database)
    else:
        assert not nothing_left(database)
        others = "select count(*) from pg_stat_activity where query ilike 'copy %' and pid <> pg_backend_pid()"
        until(lambda: database.execute(others).fetchone()[0] == 0)
    outcome = big.run("run", "--json")
    assert outcome.code == 0, outcome.stderr
    assert database.execute("select count(*), sum(id) from big").fetchone() == (ROWS, ROWS * (ROWS - 1) // 2)
    assert nothing_left(database)


def test_tables_of_others_with_such_a_name_are_left_alone(
    big: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    database.execute(
        "create table big_snowmelt_12345678 (mine int); comment on table big_snowmelt_12345678 is 'snowmelt is loading'"
    )
    assert big.run("run", "--json").code == 0
    assert database.execute(STAGING).fetchall() == [("big_snowmelt_12345678",)]


def test_two_loads_of_one_target_at_once(big: Project, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    assert big.run("export").code == 0
    both = [big.start("import") for _ in range(2)]
    for process in both:
        process.communicate(timeout=PATIENCE)
    assert sorted(process.returncode for process in both) in ([0, 8], [0, 12])
    assert database.execute("select count(*) from big").fetchone() == (ROWS,)
    assert nothing_left(database)


def test_fewer_connections_than_asked_for(big: Project, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    assert big.run("export").code == 0
    database.execute("drop role if exists narrow; create role narrow login superuser connection limit 3")
    database.execute("alter role narrow nosuperuser; grant create, usage on schema public to narrow")
    try:
        narrow = big.run("import", "--json", "--load-connections", "8", PGUSER="narrow", PGOPTIONS="-c search_path=public")
        assert narrow.code == 0, narrow.stderr
        assert "2 of 8 load connections could be opened" in narrow.stderr
        owner = "select relowner::regrole::text from pg_class where relname = 'big'"
        assert database.execute(f"select count(*), ({owner}) from big").fetchone() == (ROWS, "narrow")
    finally:
        database.execute("drop owned by narrow; drop role narrow")
