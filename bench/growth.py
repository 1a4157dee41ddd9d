"""`make bench-growth`: time and memory of export and import for 1, 4 and 16 million rows, 10 and 300 columns, 1 and 8 tables.

Beside each import stands the server's own time for the same rows: COPY of one file of pre-encoded bytes per table, without a
client. From some size on it grows faster than the rows (max_wal_size makes the server checkpoint), and that is not ours.
MILLIONS (default 1,4,16) chooses other sizes. Exits with 1 when the time a row or the memory grows with the rows: an
export's, and an import's over the server's own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from snowmelt_sandbox.postgres import PrivatePostgres  # noqa: E402
from snowmelt_sandbox.testing import Sandbox  # noqa: E402

from bench.run import SNOWMELT, high_water, machine, record  # noqa: E402

SLOWER_MOST, LARGER_MOST = 1.25, 1.3  # a row's time and the peak, the largest table beside the middle one
BLOCK = 250_000


def write_table(file: Path, rows: int, columns: int) -> None:
    """Integers, decimals, dates, timestamps and short texts in turn."""
    random = np.random.default_rng(rows + columns)
    writer = None
    for begin in range(0, rows, BLOCK):
        count = min(BLOCK, rows - begin)
        arrays = {"ID": pa.array(np.arange(begin, begin + count))}
        for number in range(columns - 1):
            values = random.integers(0, 10**6, count)
            kind = number % 5
            arrays[f"C{number}"] = (
                pa.array(values) if kind == 0
                else pa.array(values).cast(pa.decimal128(19, 0)).cast(pa.decimal128(21, 2)) if kind == 1
                else pa.array((values % 20_000).astype("int32")).cast(pa.date32()) if kind == 2
                else pa.array(values * 10**9).cast(pa.timestamp("us")) if kind == 3
                else pa.array(values).cast(pa.string())
            )  # fmt: skip
        table = pa.table(arrays)
        writer = writer or pq.ParquetWriter(file, table.schema)
        writer.write_table(table)
    writer.close()


def command(scratch: Path, name: str) -> tuple[float, float]:
    """Wall seconds and peak MB."""
    started, peak = time.monotonic(), 0
    with (scratch / "log").open("w+") as log:
        child = subprocess.Popen([SNOWMELT, name, "--config", scratch / "snowmelt.toml"], cwd=scratch, stdout=log, stderr=log)
        while child.poll() is None:
            peak = max(peak, high_water(child.pid))
            time.sleep(0.005)
        if child.returncode != 0:
            log.seek(0)
            raise SystemExit(f"bench-growth: {name} ended with {child.returncode}: {log.read()[-2000:]}")
    return time.monotonic() - started, peak / 1024


def server_alone(postgres: PrivatePostgres, scratch: Path, tables: int) -> float:
    """Seconds of the server for the rows of all tables, one after the other, from its own binary COPY files."""
    encoded = scratch / "encoded"
    encoded.mkdir()
    encoded.chmod(0o777)  # the server's account writes it
    scratch.chmod(0o755)
    for number in range(tables):
        postgres.psql(f"copy t{number} to '{encoded}/{number}' with (format binary); create table alone{number} (like t{number})")
    postgres.psql("checkpoint")
    started = time.monotonic()
    for number in range(tables):
        postgres.psql(
            f"begin; truncate alone{number}; copy alone{number} from '{encoded}/{number}' with (format binary, freeze); commit"
        )
    return time.monotonic() - started


def measure(rows: int, columns: int, tables: int) -> dict[str, tuple[float, float]]:
    with tempfile.TemporaryDirectory(prefix="snowmelt-growth-") as name:
        scratch = Path(name)
        data = scratch / "data" / "D" / "PUBLIC"
        data.mkdir(parents=True)
        write_table(data / "T0.parquet", rows // tables, columns)
        for number in range(1, tables):
            shutil.copy(data / "T0.parquet", data / f"T{number}.parquet")
        with Sandbox("--data", scratch / "data") as server, PrivatePostgres() as postgres:
            lines = ["[snowflake]", *(f"{key} = {json.dumps(value)}" for key, value in server.connection_keys.items())]
            lines += ["[postgres]", f'uri = "{postgres.uri}"', "[export]", f'directory = "{scratch / "export"}"']
            for number in range(tables):
                lines += ["[[table]]", f'source = "D.PUBLIC.T{number}"', f'target = "public.t{number}"', 'mode = "replace"']
            (scratch / "snowmelt.toml").write_text("\n".join(lines) + "\n")
            (scratch / "snowmelt.toml").chmod(0o600)
            command(scratch, "export")  # the sandbox's own work on the chunks is done after this
            found = {"export": command(scratch, "export")}
            postgres.psql("checkpoint")
            found["import"] = command(scratch, "import")
            counts = [postgres.psql(f"select count(*) from t{number}") for number in range(tables)]
            if counts != [str(rows // tables)] * tables:
                raise SystemExit(f"bench-growth: wrong counts: {counts}")
            found["server"] = (server_alone(postgres, scratch, tables), 0.0)
    return found


def main() -> int:
    millions = [float(text) for text in os.environ.get("MILLIONS", "1,4,16").split(",")]
    shapes = [(int(m * 10**6), 10, 1) for m in millions] + [(100_000, 300, 1), (int(millions[1] * 10**6), 10, 8)]
    lines = [
        "| rows | columns | tables | export s | µs a row | MB | import s | µs a row | MB | server alone s |",
        "|---:|" + "---:|" * 9,
    ]
    found = []
    for rows, columns, tables in shapes:
        print(f"bench-growth: {rows} rows, {columns} columns, {tables} tables", file=sys.stderr, flush=True)
        halves = measure(rows, columns, tables)
        found.append(halves)
        cells = [f"{rows:,}", str(columns), str(tables)]
        for seconds, peak in (halves["export"], halves["import"]):
            cells += [f"{seconds:.1f}", f"{seconds / rows * 1e6:.2f}", f"{peak:.0f}"]
        cells.append(f"{halves['server'][0]:.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    text = f"{machine()}; one run each\n\n" + "\n".join(lines)
    print(text)
    if "MILLIONS" not in os.environ:
        record("`make bench-growth`", text)
    middle, largest = found[len(millions) - 2], found[len(millions) - 1]
    good = True
    for half in ("export", "import"):
        slower = (largest[half][0] / millions[-1]) / (middle[half][0] / millions[-2])
        beside = ""
        if half == "import":
            slower /= (largest["server"][0] / millions[-1]) / (middle["server"][0] / millions[-2])
            beside = ", the server's own growth taken out,"
        larger = largest[half][1] / middle[half][1]
        reached = slower <= SLOWER_MOST and larger <= LARGER_MOST
        good = good and reached
        print(
            f"goal: {half}, {millions[-1]:g} beside {millions[-2]:g} million rows: {slower:.2f} times the time a row{beside}"
            f" (at most {SLOWER_MOST}), {larger:.2f} times the memory (at most {LARGER_MOST}):"
            f" {'reached' if reached else 'MISSED'}"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
