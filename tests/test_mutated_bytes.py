"""Changed bytes from a server or a file: never a crash, never a bug of ours, and nothing accepted that pyarrow's full validation
refuses. SNOWMELT_MUTATIONS=10000 tries that many of each kind, SNOWMELT_SEED_OF_MUTATIONS others than the usual ones."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from mutated import file_refused, mutate, parquet_files, stream_refused, wire_streams
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres
from static_server import Chunk, Result, StaticServer

MUTATIONS = int(os.environ.get("SNOWMELT_MUTATIONS", "300"))
SEED = int(os.environ.get("SNOWMELT_SEED_OF_MUTATIONS", "1"))
A_RUN = 300
RUNS = [(first, min(A_RUN, MUTATIONS - first)) for first in range(0, MUTATIONS, A_RUN)]
REFUSALS = {5, 6, 7, 8, 11}  # Snowflake's or PostgreSQL's word, files, values, verification


def mutated_results(first: int, count: int) -> tuple[dict[str, Result], dict[str, bytes]]:
    streams = wire_streams()
    results, bodies = {}, {}
    for i in range(first, first + count):
        chance = random.Random(SEED * 1_000_003 + i)
        row_type, stream, rows = streams[i % len(streams)]
        body = stream if i < len(streams) else mutate(stream, chance)  # the first are as they should be
        name = f"D.PUBLIC.T{i}"
        bodies[name] = body
        if i % 5 == 4:
            results[name] = Result(row_type, inline=body, inline_rows=rows)
        else:
            results[name] = Result(row_type, chunks=[Chunk(body, rows, len(stream))])
    return results, bodies


def check_accepted(accepted: list[str], bodies: dict[str, bytes]) -> None:
    wrong = {name: problem for name in accepted if (problem := stream_refused(bodies[name]))}
    assert not wrong


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("first", "count"), RUNS)
def test_changed_chunks_are_exported_or_refused(project: Project, first: int, count: int) -> None:
    results, bodies = mutated_results(first, count)
    with StaticServer(results) as server:
        project.configure(snowflake=server.connection_keys, tables=[{"source": name} for name in results])
        outcome = project.run("export", "--json", timeout=800)
    assert outcome.code in {0, *REFUSALS}, outcome.stderr[-4000:]
    tables = {table["source"]: table for table in outcome.report["tables"]}
    assert set(tables) == set(results)
    bugs = {n: t["error"] for n, t in tables.items() if t["status"] == "failed" and t["error"]["exit_code"] not in REFUSALS}
    assert not bugs
    accepted = [name for name, table in tables.items() if table["status"] == "ok"]
    assert len(accepted) >= len([i for i in range(first, first + count) if i < len(wire_streams())]), "the unchanged ones"
    check_accepted(accepted, bodies)
    assert not project.unfinished()


FETCH = """
import json, sys
import snowmelt
keys, names = json.load(sys.stdin)
with snowmelt.SnowflakeConnectionManager(**keys) as manager:
    with manager.get_connection().cursor() as cursor:
        for name in names:
            for fetch in (cursor.fetch_arrow_table, cursor.fetchall):
                try:
                    cursor.execute(f"select * from {name}")
                    fetch()
                    print(json.dumps([name, fetch.__name__, 0, ""]), flush=True)
                except snowmelt.Error as error:
                    print(json.dumps([name, fetch.__name__, error.exit_code, str(error)]), flush=True)
"""


@pytest.mark.timeout(900)
def test_changed_chunks_are_fetched_or_refused(project: Project) -> None:
    results, bodies = mutated_results(0, min(MUTATIONS, 150))
    with StaticServer(results) as server:
        done = subprocess.run(
            [sys.executable, "-c", FETCH], input=json.dumps([server.connection_keys, list(results)]), text=True,
            capture_output=True, timeout=800, check=False, env=project.variables(),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 2 * len(results)
    assert not [answer for answer in answers if answer[2] not in {0, *REFUSALS}]
    check_accepted([name for name, _, code, _ in answers if code == 0], bodies)


LOAD = """
import json, sys
import snowmelt
uri, files = json.load(sys.stdin)
with snowmelt.PostgresConnectionManager(uri=uri, autocommit=True) as manager:
    loader = snowmelt.PostgreSQLDataLoader(manager)
    for file in files:
        try:
            loader.load_parquet_to_table(file, "public.mutated", mode="replace")
            print(json.dumps([file, 0, ""]), flush=True)
        except snowmelt.Error as error:
            print(json.dumps([file, error.exit_code, str(error)]), flush=True)
"""

REFUSED = """
import json, sys
from mutated import file_refused
for file in json.load(sys.stdin):
    print(json.dumps([file, file_refused(file)]), flush=True)
"""


def run_script(script: str, given: object, project: Project) -> list[list]:
    """The lines of JSON that a process of its own gives."""
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(given), text=True, capture_output=True, timeout=800, check=False,
        env=project.variables(PYTHONPATH=str(Path(__file__).parent)),
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"rc {done.returncode} after {lines[-1:]}: {done.stderr[-4000:]}"
    return lines


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("first", "count"), RUNS)
def test_changed_files_are_loaded_or_refused(project: Project, postgres: PrivatePostgres, first: int, count: int) -> None:
    originals = parquet_files()
    files = []
    for i in range(first, first + count):
        chance = random.Random(SEED * 1_000_003 + i)
        original = originals[i % len(originals)]
        files.append(project.directory / f"{i}.parquet")
        files[-1].write_bytes(original if i < len(originals) else mutate(original, chance))
    answers = run_script(LOAD, [postgres.uri, [str(file) for file in files]], project)
    assert len(answers) == count
    assert not [answer for answer in answers if answer[1] not in {0, *REFUSALS}]
    accepted = [file for file, code, _ in answers if code == 0]
    assert len(accepted) >= len([i for i in range(first, first + count) if i < len(originals)]), "the unchanged ones"
    assert not [line for line in run_script(REFUSED, accepted, project) if line[1]]


# Seeds and numbers of files. The first three were loaded as empty, for a column that ends early looks like the end of the file;
# the last one's footer is found damaged only where a column's part of it is asked for.
FOUND = [(7, 1480), (7, 2852), (7, 3107), (7, 8072)]


def test_files_that_were_once_taken_wrongly(project: Project, postgres: PrivatePostgres) -> None:
    originals = parquet_files()
    files = [project.directory / f"{seed}-{i}.parquet" for seed, i in FOUND]
    for file, (seed, i) in zip(files, FOUND, strict=True):
        file.write_bytes(mutate(originals[i % len(originals)], random.Random(seed * 1_000_003 + i)))
    answers = run_script(LOAD, [postgres.uri, [str(file) for file in files]], project)
    assert [code for _, code, _ in answers] == [6] * len(FOUND)


def test_the_originals_are_good(tmp_path: Path) -> None:
    assert not [stream for _, stream, _ in wire_streams() if stream_refused(stream)]
    for i, file in enumerate(parquet_files()):
        (tmp_path / f"{i}.parquet").write_bytes(file)
        assert file_refused(str(tmp_path / f"{i}.parquet")) is None
