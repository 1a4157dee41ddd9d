"""Parquet files that are small on disk and large in memory: loaded within bounds, or refused by a clear error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres

LOAD = """
import json, resource, sys
import snowmelt
uri, file = json.load(sys.stdin)
with snowmelt.PostgresConnectionManager(uri=uri, autocommit=True) as manager:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = snowmelt.PostgreSQLDataLoader(manager).load_parquet_to_table(file, "public.huge", mode="replace")
    print(json.dumps([rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""
GROWTH_KB_MAX = 200_000


def load(project: Project, postgres: PrivatePostgres, file: Path) -> tuple[int, int]:
    """Rows, and by how many KB the process grew meanwhile."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD], input=json.dumps([postgres.uri, str(file)]), text=True, capture_output=True, timeout=300,
        check=False, env=project.variables(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows, growth_kb = json.loads(done.stdout)
    return rows, growth_kb


@pytest.mark.parametrize("form", ["plain", "dictionary", "same", "bytes", "late"])
def test_few_huge_rows(project: Project, postgres: PrivatePostgres, database: psycopg.Connection, form: str) -> None:
    rows, length = 1_000, 400_000
    huge = [f"{i % 7}" + "x" * length for i in range(rows)] if form != "same" else ["x" * length] * rows
    if form == "late":  # after many small ones in one row group
        huge = ["small"] * 100_000 + huge[: rows // 2]
    values = pa.array(huge, pa.binary() if form == "bytes" else pa.utf8())
    file = project.directory / "huge.parquet"
    table = pa.table({"id": pa.array(range(len(values)), pa.int64()), "value": values})
    pq.write_table(table, file, compression="zstd", use_dictionary=form in {"dictionary", "same", "late"}, row_group_size=10**6)
    assert file.stat().st_size < 3_000_000
    loaded, growth_kb = load(project, postgres, file)
    assert loaded == len(values)
    (total,) = database.execute("select sum(length(value)) from huge").fetchone()
    assert total == sum(len(value) for value in huge)
    assert growth_kb < GROWTH_KB_MAX


def test_many_small_rows_of_a_small_file(project: Project, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    count = 1_000_000
    table = pa.table({"id": pa.array([7] * count, pa.int64()), "value": ["the same text every time"] * count})
    file = project.directory / "many.parquet"
    pq.write_table(table, file, row_group_size=count)
    loaded, growth_kb = load(project, postgres, file)
    assert loaded == count
    assert database.execute("select count(*), min(value) from huge").fetchone() == (count, "the same text every time")
    assert growth_kb < GROWTH_KB_MAX
