"""Against servers that are not ours: one of fixed answers that refuses every look at metadata, and plain fakesnow."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import PATIENCE
from static_server import Result, StaticServer, arrow_chunk, column, lineitem

from demo.demo import source_content, target_content

SOURCE = {"source": "D.PUBLIC.LINEITEM", "mode": "replace"}
MEMORY_LIMIT_KB = 400_000


@pytest.fixture(scope="module")
def small(tpch: Callable[[float], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StaticServer, Path]]:
    source = tpch(0.05) / "TPCH" / "PUBLIC" / "LINEITEM.parquet"
    tables = {"D.PUBLIC.LINEITEM": lineitem(source, tmp_path_factory.mktemp("chunks"))}
    with StaticServer(tables) as server:
        yield server, source


@pytest.fixture
def server(small: tuple[StaticServer, Path]) -> StaticServer:
    small[0].reset()
    small[0].disturb = lambda chunk, attempt: None
    small[0].use_qrmk = False
    small[0].content_encoding = True
    return small[0]


def configure(project: Project, server: StaticServer, postgres: PrivatePostgres, *tables: dict) -> None:
    project.configure(snowflake=server.connection_keys, postgres=postgres.uri, tables=list(tables or [SOURCE]))


@pytest.fixture(scope="module")
def big(tpch: Callable[[float], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    source = tpch(1) / "TPCH" / "PUBLIC" / "LINEITEM.parquet"
    return lineitem(source, tmp_path_factory.mktemp("big")), source


def peak_kb(project: Project, *arguments: str) -> int:
    outcome, peak = project.run_measured(*arguments)
    assert outcome.code == 0, outcome.stderr
    return peak


def test_six_million_rows_with_one_login_in_bounded_memory(
    project: Project, big: tuple[Result, Path], postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    with StaticServer({"D.PUBLIC.LINEITEM": big[0]}) as server:
        configure(project, server, postgres)
        assert peak_kb(project, "run") < MEMORY_LIMIT_KB
        assert (server.logins, server.closed) == (1, 1)
    wanted = source_content(big[1])
    assert wanted[0] == 6_001_215
    assert target_content(postgres, "lineitem") == wanted


def test_memory_does_not_grow_with_the_table(project: Project, big: tuple[Result, Path], postgres: PrivatePostgres) -> None:
    """6 M rows and 24 M rows: the same peak, whatever the number of chunks."""
    once = big[0]
    assert len(once.chunks) == 60
    fourfold = replace(once, chunks=[*once.chunks, *once.chunks, *once.chunks, *once.chunks])
    peaks = []
    for result in (once, fourfold):
        with StaticServer({"D.PUBLIC.LINEITEM": result}) as server:
            configure(project, server, postgres)
            peaks.append(peak_kb(project, "export"))
        (manifest,) = project.manifests()
        assert json.loads(manifest.read_text())["rows"] == result.total
        shutil.rmtree(manifest.parent)
    print("peak kB:", peaks)
    # One run's peak varies by some 50 MB (which threads hold large chunks at once). 75 MB are 4 bytes for each row more.
    assert max(peaks) < 250_000
    assert peaks[1] < peaks[0] + 75_000


@pytest.mark.parametrize("last", [False, True], ids=["in the middle", "the last one"])
def test_chunk_that_ends_one_row_early(
    last: bool, project: Project, server: StaticServer, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    database.execute("create table lineitem (l_orderkey bigint)")
    database.execute("insert into lineitem values (7)")
    configure(project, server, postgres, {"source": "D.PUBLIC.LINEITEM", "target": "fresh"})
    chunk = len(server.tables["D.PUBLIC.LINEITEM"].chunks) - 1 if last else 2
    server.disturb = lambda index, attempt: "short" if index == chunk else None
    for command in ("export", "run"):
        done = project.run(command)
        assert done.code == 11, done.stderr
        assert "LINEITEM" in done.stderr
        assert project.manifests() == []
        assert project.unfinished() == []
    assert server.attempts[chunk] == 4  # once more each time
    assert database.execute("select to_regclass('fresh')").fetchone()[0] is None
    assert database.execute("select l_orderkey from lineitem").fetchall() == [(7,)]


@pytest.mark.parametrize("downloads", [0, 1])
def test_more_chunks_are_on_their_way_than_are_worked_on(
    downloads: int, project: Project, server: StaticServer, postgres: PrivatePostgres
) -> None:
    chunks = len(server.tables["D.PUBLIC.LINEITEM"].chunks)
    assert chunks > 1
    wanted = downloads or min(chunks, 6)  # the default
    keys = {"snowflake": server.connection_keys, "postgres": postgres.uri, "tables": [SOURCE]}
    project.configure(**keys, extra=f"threads = 1\ndownloads = {downloads}")
    arrived, changed, most = 0, threading.Condition(), 0

    def hold(index: int, attempt: int) -> None:
        """Each request waits for the others that are due with it."""
        nonlocal arrived, most
        with changed:
            arrived += 1
            most = max(most, arrived)
            changed.notify_all()
            changed.wait_for(lambda: most >= wanted, timeout=PATIENCE)
            arrived -= 1

    server.disturb = hold
    assert project.run("export").code == 0
    assert most == wanted


def test_chunk_short_once_is_read_again(
    project: Project, server: StaticServer, small: tuple, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    configure(project, server, postgres)
    server.disturb = lambda index, attempt: "short" if index == 1 and attempt == 1 else None
    assert project.run("run").code == 0
    assert target_content(postgres, "lineitem") == source_content(small[1])


@pytest.mark.parametrize("trouble", ["503", "reset", "cut", "drip", "expired", "qrmk", "plain"])
def test_troubled_downloads_come_whole(
    trouble: str,
    project: Project,
    server: StaticServer,
    small: tuple,
    postgres: PrivatePostgres,
    database: psycopg.Connection,
) -> None:
    def disturb(index: int, attempt: int) -> str | None:
        if trouble == "expired" and index == 3 and server.generation == 1:
            server.generation = 2  # every address handed out so far is refused from now on
            return "403"
        return trouble if attempt == 1 and trouble in ("503", "reset", "cut", "drip") else None

    server.disturb = disturb
    server.use_qrmk = trouble == "qrmk"
    server.content_encoding = trouble != "plain"
    configure(project, server, postgres)
    done = project.run("run")
    assert done.code == 0, done.stderr
    assert target_content(postgres, "lineitem") == source_content(small[1])
    assert server.logins == 1
    if trouble == "expired":
        assert server.refreshes >= 1


def test_metadata_refused_is_no_obstacle(
    project: Project, server: StaticServer, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    configure(project, server, postgres)
    done = project.run("run", "--json")
    assert done.code == 0, done.stderr
    assert done.report["logins"] == 1


def test_schemas_whose_width_differs_between_chunks(
    project: Project, postgres: PrivatePostgres, database: psycopg.Connection
) -> None:
    kinds = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.decimal128(38, 2)]

    def piece(kind: pa.DataType, start: int) -> pa.Table:
        numbers = [None if i % 3 == 0 else start + i for i in range(10)]
        if pa.types.is_decimal(kind):
            numbers = [None if n is None else Decimal(n).scaleb(-2) for n in numbers]
        values = pa.array(numbers, kind)
        metadata = {"logicalType": "FIXED", "precision": "38", "scale": "2"}
        return pa.table([values], schema=pa.schema([pa.field("N", kind, True, metadata)]))

    chunks = [arrow_chunk(piece(kind, start)) for start, kind in enumerate(kinds)]
    result = Result([column("N", "fixed", 38, 2)], chunks=chunks)
    with StaticServer({"D.PUBLIC.N": result}) as server:
        configure(project, server, postgres, {"source": "D.PUBLIC.N"})
        assert (done := project.run("run")).code == 0, done.stderr
    wanted = [None if i % 3 == 0 else Decimal(start + i).scaleb(-2) for start in range(5) for i in range(10)]
    got = [row[0] for row in database.execute("select n from n").fetchall()]
    assert sorted(got, key=str) == sorted(wanted, key=str)


def test_plain_fakesnow(project: Project, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    """No part of our sandbox: the client reads what other people's server sends."""
    script = """
import sys
import fakesnow, snowflake.connector
answer, sys.stdout = sys.stdout, sys.stderr
with fakesnow.server() as keys:
    with snowflake.connector.connect(**keys) as connection:
        cursor = connection.cursor()
        cursor.execute("create database D")
        cursor.execute("create schema D.S")
        cursor.execute("create table D.S.T (ID int, NAME varchar, PRICE number(10,2), WHEN_ date)")
        rows = "(1, 'one', 1.25, '2024-02-29'), (2, null, -0.01, null), (3, '', null, '1970-01-01')"
        cursor.execute("insert into D.S.T values " + rows)
    print(keys["host"], keys["port"], file=answer, flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        host, port = process.stdout.readline().split()
        keys = {"account": "fakesnow", "user": "u", "password": "p", "host": host, "port": int(port), "protocol": "http"}
        project.configure(snowflake=keys, postgres=postgres.uri, tables=[{"source": "D.S.T", "target": "t"}])
        done = project.run("run", "--jobs", "1")
        assert done.code == 0, done.stderr
    finally:
        process.communicate("")
    rows = database.execute("select id, name, price, when_::text from t order by id").fetchall()
    assert rows == [
        (1, "one", Decimal("1.25"), "2024-02-29"),
        (2, None, Decimal("-0.01"), None),
        (3, "", None, "1970-01-01"),
    ]
