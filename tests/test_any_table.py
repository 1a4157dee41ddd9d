"""Tables nobody thought of: random schemas and values through the whole line, compared cell by cell by DuckDB and psycopg.

SNOWMELT_SEED_OF_TABLES and SNOWMELT_TABLES choose other tables, and more: each prints its seed, by which it comes again.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import Sandbox

FIRST = int(os.environ.get("SNOWMELT_SEED_OF_TABLES", "1"))
COUNT = int(os.environ.get("SNOWMELT_TABLES", "8"))
CELLS = 16_000  # a table
EXACT = Context(prec=80)
FLOATS = [0.1, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan")]
EPOCH = dt.datetime(1970, 1, 1)
LETTERS = string.printable + "äßé€漢字🎉\u200d\u0301\uffff\U0010ffff'\"\\"


@dataclass
class Kind:
    """How a column's values are made; `seen` is what psycopg gives for one."""

    arrow: pa.DataType
    value: Callable[[random.Random], Any]
    seen: Callable[[Any], Any] = lambda value: value


def edges(choose: random.Random, limit: int) -> int:
    """Powers of two and ten and their neighbours as often as anything else."""
    bits = choose.choice([2, 10]) ** choose.randrange(0, 40)
    value = choose.choice([bits, bits - 1, bits + 1, choose.randrange(limit), choose.randrange(limit) // 10**9 * 10**9, 0])
    return choose.choice([1, -1]) * min(value, limit - 1)


def decimal(precision: int, scale: int) -> Kind:
    return Kind(pa.decimal128(precision, scale), lambda c: Decimal(edges(c, 10**precision)).scaleb(-scale, EXACT))


def text(choose: random.Random) -> str:
    length = choose.choice([0, 1, 2, 7, 31, 32, 33, 200])
    return "".join(choose.choice(LETTERS) for _ in range(length))


def moment(choose: random.Random) -> dt.datetime:
    micros = choose.choice([choose.randrange(-62_135_596_800_000_000, 253_402_300_800_000_000), choose.randrange(-2, 3)])
    return EPOCH + dt.timedelta(microseconds=micros)


def kinds(choose: random.Random) -> Kind:
    precision = choose.randrange(1, 39)
    return choose.choice([
        decimal(precision, choose.randrange(precision + 1)),
        decimal(precision, 0) if precision > 18 else Kind(pa.int64(), lambda c: edges(c, 2**63)),
        Kind(pa.int64(), lambda c: edges(c, 2**63)),
        Kind(pa.int16(), lambda c: edges(c, 2**15)),
        Kind(pa.float64(), lambda c: c.choice([*FLOATS, c.gauss(0, 1)])),
        Kind(pa.bool_(), lambda c: c.random() < 0.5),
        Kind(pa.string(), text),
        Kind(pa.binary(), lambda c: c.randbytes(c.choice([0, 1, 16, 100]))),
        Kind(pa.date32(), lambda c: moment(c).date()),
        Kind(pa.timestamp("us"), moment),
        Kind(pa.time64("us"), lambda c: moment(c).time()),
    ])  # fmt: skip


def column_name(choose: random.Random, number: int) -> str:
    style = choose.choice(["UPPER", "Mixed Case", "lower", 'quo"ted', "ünï", "select", "X$Y", "a.b"])
    return f"{style}{number}"


def make_table(seed: int) -> pa.Table:
    choose = random.Random(seed)
    width = choose.choice([1, 3, 20, 120])
    rows = CELLS // width
    columns = {}
    for number in range(width):
        kind = kinds(choose)
        absent = choose.choice([0.0, 0.0, 0.1, 0.9, 1.0])
        values = [None if choose.random() < absent else kind.value(choose) for _ in range(rows)]
        columns[column_name(choose, number)] = pa.array(values, kind.arrow)
    return pa.table(columns)


def folded(name: str) -> str:
    return name.lower() if name.isascii() and name.replace("$", "_").isidentifier() and name.upper() == name else name


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_every_cell_arrives(seed: int, project: Project, postgres: PrivatePostgres, database: psycopg.Connection) -> None:
    table = make_table(seed)
    numbered = table.add_column(0, "ROW_NUMBER", pa.array(range(table.num_rows), pa.int64()))
    data = project.directory / "data"
    (data / "D" / "PUBLIC").mkdir(parents=True)
    pq.write_table(numbered, data / "D" / "PUBLIC" / "T.parquet")
    chunk_rows = random.Random(seed).choice([37, 1000, 100_000])
    width = random.Random(seed + 1).choice(["result", "chunk"])
    with Sandbox("--data", data, "--chunk-max-rows", max(chunk_rows, table.num_rows // 40), "--int-width", width) as server:
        project.configure(
            snowflake=server.connection_keys,
            postgres=postgres.uri,
            tables=[{"source": "D.PUBLIC.T", "target": "public.t", "integers": "numeric"}],
        )
        outcome = project.run("run", "--json")
    assert outcome.code == 0, (seed, outcome.stderr)
    assert outcome.report["tables"][0]["rows"] == table.num_rows
    with database.cursor() as cursor:
        cursor.execute("select * from t order by row_number")
        names = [column.name for column in cursor.description]
        got = cursor.fetchall()
    assert names == [folded(name) for name in numbered.column_names], seed
    for number, name in enumerate(numbered.column_names):
        wanted = numbered.column(name).to_pylist()
        arrived = [row[number] for row in got]
        different = [(row, w, a) for row, (w, a) in enumerate(zip(wanted, arrived, strict=True)) if not same(w, a)]
        assert not different, (seed, name, numbered.schema.field(name).type, different[:3])


def same(wanted: Any, arrived: Any) -> bool:
    if isinstance(wanted, float) and isinstance(arrived, float):
        return repr(wanted) == repr(arrived)
    if isinstance(wanted, bytes):
        return arrived is not None and bytes(arrived) == wanted
    return wanted == arrived and (wanted is None) == (arrived is None)
