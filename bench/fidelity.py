"""`make fidelity`: the same edge values through snowmelt and its peers, Parquet to PostgreSQL, cell by cell.

Each column of edge values is a file of its own, loaded into a table that is there already. A loader that refuses the file
gets each value alone. The judge is PostgreSQL: the text of the stored cell against the text of the same literal. A cell is
kept, changed (stored as another value) or refused. Exits with 1 when snowmelt changed any, or refused one that PostgreSQL can
hold.
"""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PEERS = ROOT / ".cache" / "bench-venv" / "bin" / "python"
TABLE = "fidelity"
LOADERS = {
    "snowmelt": None,
    "ADBC PostgreSQL": "load-adbc",
    "DuckDB postgres": "load-duckdb",
    "pyarrow CSV + psycopg": "load-psycopg-csv",
}
NONE = "PostgreSQL has no such value"


@dataclass
class Column:
    """Edge values of one type: what the file holds, and the same as an SQL literal (None: NULL; NONE: to be refused)."""

    name: str
    arrow: pa.DataType
    postgres: str
    cells: list[tuple[Any, str | None]]


def decimals(scale: int, *texts: str) -> list[tuple[Any, str | None]]:
    return [(Decimal(text), f"'{text}'") for text in texts] + [(None, None)]


def moments(*texts: str) -> list[tuple[Any, str | None]]:
    return [(dt.datetime.fromisoformat(text), f"'{text}'") for text in texts] + [(None, None)]


def nanos(*cells: tuple[int, str | None]) -> list[tuple[Any, str | None]]:
    return [(value, literal) for value, literal in cells] + [(None, None)]


COLUMNS = [
    Column("numeric(22,6)", pa.decimal128(22, 6), "numeric(22,6)", decimals(
        6, "5000000000.000001", "1000000000.000001", "20000.000001", "-5000000000.000001", "0.000001", "0", "-0.000001", "10000",
        "99999999999999.999999", "1.5")),
    Column("numeric(38,0)", pa.decimal128(38, 0), "numeric(38,0)", decimals(
        0, "9" * 38, "-" + "9" * 38, "1" + "0" * 37, "10000", "1000000000", "0")),
    Column("numeric(38,37)", pa.decimal128(38, 37), "numeric(38,37)", decimals(
        37, "0." + "0" * 36 + "1", "9." + "9" * 37, "-0." + "9" * 37, "1")),
    Column("bigint", pa.int64(), "bigint", [(v, f"'{v}'") for v in (2**63 - 1, -(2**63), 2**53 + 1, 0, -1)] + [(None, None)]),
    Column("uint64 to numeric", pa.uint64(), "numeric(20,0)", [(v, f"'{v}'") for v in (2**64 - 1, 2**63, 0)] + [(None, None)]),
    Column("double", pa.float64(), "double precision", [
        (0.1, "'0.1'"), (-0.0, "'-0'"), (float("nan"), "'NaN'"), (float("inf"), "'Infinity'"), (float("-inf"), "'-Infinity'"),
        (5e-324, "'5e-324'"), (1.7976931348623157e308, "'1.7976931348623157e308'"), (float(2**53 + 2), "'9007199254740994'"),
        (None, None)]),
    Column("text", pa.string(), "text", [
        ("", "''"), (" ", "' '"), ("\\N", "'\\N'"), ("\\.", "'\\.'"), ('"', "'\"'"), (",", "','"), ("NULL", "'NULL'"),
        ("a\r\nb", "E'a\\r\\nb'"),
        ("\U0010ffff", "U&'\\+10FFFF'"), ("e\u0301", "U&'e\\0301'"), ("a\0b", NONE), (None, None)]),
    Column("bytea", pa.binary(), "bytea", [
        (b"", "'\\x'"), (b"\0", "'\\x00'"), (bytes(range(256)), "'\\x" + bytes(range(256)).hex() + "'"),
        (b"\\x41", "'\\x5c783431'"), (None, None)]),
    Column("date", pa.date32(), "date", [
        (dt.date.fromisoformat(d), f"'{d}'") for d in ("0001-01-01", "1582-10-10", "1969-12-31", "1970-01-01", "2000-02-29",
                                                     "9999-12-31")
    ] + [(None, None)]),
    Column("time µs", pa.time64("us"), "time", [
        (dt.time.fromisoformat(t), f"'{t}'") for t in ("00:00:00", "23:59:59.999999", "12:34:56.000001")] + [(None, None)]),
    Column("time ms", pa.time32("ms"), "time", [
        (dt.time(23, 59, 59, 999000), "'23:59:59.999'"), (dt.time(0), "'00:00'"), (None, None)]),
    Column("time ns", pa.time64("ns"), "time", nanos((1_000, "'00:00:00.000001'"), (1_001, NONE))),
    Column("timestamp µs", pa.timestamp("us"), "timestamp", moments(
        "0001-01-01 00:00:00", "1969-12-31 23:59:59.999999", "2262-04-12 00:00:00.000001", "9999-12-31 23:59:59.999999")),
    Column("timestamp ms", pa.timestamp("ms"), "timestamp", moments("0001-01-01 00:00:00.001", "9999-12-31 23:59:59.999")),
    Column("timestamp ns", pa.timestamp("ns"), "timestamp", nanos(
        (1_000, "'1970-01-01 00:00:00.000001'"), (-1_000, "'1969-12-31 23:59:59.999999'"), (1_001, NONE), (-1, NONE))),
    Column("timestamptz", pa.timestamp("us", tz="UTC"), "timestamptz", [
        (dt.datetime(1, 1, 1, tzinfo=dt.UTC), "'0001-01-01 00:00:00+00'"),
        (dt.datetime(2024, 3, 31, 1, 30, tzinfo=dt.UTC), "'2024-03-31 01:30:00+00'"), (None, None)]),
    Column("jsonb of text", pa.string(), "jsonb", [
        ("null", "'null'"),
        ('{"n": 12345678901234567890123456789012345678}', "'{\"n\": 12345678901234567890123456789012345678}'"),
        ("[]", "'[]'"), ('"\\u00fc"', "'\"\u00fc\"'"), ("{not json", NONE), (None, None)]),
    Column("uuid of text", pa.string(), "uuid", [
        ("123e4567-e89b-12d3-a456-426614174000", "'123e4567-e89b-12d3-a456-426614174000'"), ("not a uuid", NONE), (None, None)]),
    Column("boolean", pa.bool_(), "boolean", [(True, "'t'"), (False, "'f'"), (None, None)]),
    Column("smallint of int64", pa.int64(), "smallint", [(32_767, "'32767'"), (32_768, NONE), (None, None)]),
    Column("integer array", pa.list_(pa.int32()), "integer[]", [([1, None, -3], "'{1,NULL,-3}'"), ([], "'{}'"), (None, None)]),
    Column("float32 to real", pa.float32(), "real", [
        (0.1, "'0.1'"), (float("nan"), "'NaN'"), (3.4028234663852886e38, "'3.4028235e38'")]),
]  # fmt: skip


class Judge:
    def __init__(self, postgres: Any, connection: Any, scratch: Path) -> None:
        self.postgres, self.connection, self.scratch = postgres, connection, scratch

    def load(self, loader: str, column: Column, rows: list[int]) -> bool:
        """True: taken. The table is new each time, the file has the rows of `column`."""
        directory = Path(tempfile.mkdtemp(dir=self.scratch))
        ids = pa.array(rows, pa.int32())
        values = pa.array([column.cells[i][0] for i in rows], column.arrow)
        pq.write_table(pa.table({"id": ids, "v": values}), directory / "t.parquet")
        self.connection.execute(f"drop table if exists {TABLE}")
        self.connection.execute(f"create table {TABLE} (id int, v {column.postgres})")
        if LOADERS[loader] is None:
            return self.load_ours(directory / "t.parquet")
        command = [PEERS, ROOT / "bench" / "peers.py", LOADERS[loader], "--directory", directory, "--postgres", self.postgres.uri,
                   "--table", TABLE]  # fmt: skip
        return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0

    def load_ours(self, file: Path) -> bool:
        import snowmelt

        try:
            with snowmelt.PostgresConnectionManager(uri=self.postgres.uri, autocommit=True) as manager:
                snowmelt.PostgreSQLDataLoader(manager).load_parquet_to_table(file, TABLE, mode="append")
        except snowmelt.Error:
            return False
        return True

    def verdict(self, column: Column, row: int) -> str:
        literal = column.cells[row][1]
        stored = self.connection.execute(f"select v::text from {TABLE} where id = {row}").fetchall()
        if len(stored) != 1:
            return "lost"
        if literal == NONE:
            return "changed"
        if literal is None:
            return "kept" if stored[0][0] is None else "changed"
        (wanted,) = self.connection.execute(f"select ({literal})::{column.postgres}::text").fetchone()
        return "kept" if stored[0][0] == wanted else "changed"

    def verdicts(self, loader: str, column: Column) -> list[str]:
        every = list(range(len(column.cells)))
        if self.load(loader, column, every):
            return [self.verdict(column, row) for row in every]
        return [self.verdict(column, row) if self.load(loader, column, [row]) else "refused" for row in every]


def main() -> int:
    import psycopg
    from snowmelt_sandbox.postgres import PrivatePostgres

    totals: dict[str, Counter] = {loader: Counter() for loader in LOADERS}
    ours_wrong: list[str] = []
    lines = []
    with (
        tempfile.TemporaryDirectory(prefix="snowmelt-fidelity-") as scratch,
        PrivatePostgres(fsync="off") as postgres,
        psycopg.connect(postgres.uri, autocommit=True) as connection,
    ):
        connection.execute("set timezone = 'UTC'")
        judge = Judge(postgres, connection, Path(scratch))
        for column in COLUMNS:
            cells = []
            for loader in LOADERS:
                verdicts = judge.verdicts(loader, column)
                totals[loader].update(verdicts)
                bad = [f"{word} {column.cells[row][0]!r:.40}" for row, word in enumerate(verdicts) if word in ("changed", "lost")]
                refused = [row for row, word in enumerate(verdicts) if word == "refused" and column.cells[row][1] != NONE]
                if loader == "snowmelt":
                    ours_wrong += [f"{column.name}: {text}" for text in bad]
                    ours_wrong += [f"{column.name}: refused {column.cells[row][0]!r}" for row in refused]
                told = [*bad, *([f"refused {len(refused)} of {len(verdicts)}"] if refused else [])]
                cells.append("; ".join(told) or "exact")
            lines.append(f"| {column.name} | " + " | ".join(cells) + " |")
    print("| values | " + " | ".join(LOADERS) + " |")
    print("|---|" + "---|" * len(LOADERS))
    print("\n".join(lines))
    sums = [f"{t['kept']} kept, {t['changed'] + t['lost']} changed, {t['refused']} refused" for t in totals.values()]
    print("| **cells** | " + " | ".join(sums) + " |")
    for problem in ours_wrong:
        print(f"fidelity: snowmelt: {problem}", file=sys.stderr)
    print(f"fidelity: snowmelt changed {totals['snowmelt']['changed'] + totals['snowmelt']['lost']} cells")
    return 1 if ours_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
