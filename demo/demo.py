"""The main job from nothing: TPC-H from a sandbox Snowflake into a private PostgreSQL, checked by DuckDB and psql.

Run by `make demo`; `SCALE=1 make demo` takes a larger TPC-H. Leaves no process and no file behind.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import Sandbox

ROOT = Path(__file__).resolve().parent.parent
TABLES = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"]


def make_tpch(scale: float, directory: Path) -> None:
    """Parquet files TPCH/PUBLIC/<TABLE>.parquet, as the sandbox serves them."""
    directory.mkdir(parents=True)
    generator = Path(sys.executable).parent / "tpchgen-cli"
    subprocess.run(
        [generator, "parquet", "-s", f"{scale:g}", "--output-dir", directory],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for table in TABLES:
        (directory / f"{table}.parquet").rename(directory / f"{table.upper()}.parquet")


def write_configuration(file: Path, sandbox: Sandbox, postgres: PrivatePostgres, export: Path) -> None:
    lines = [
        "[snowflake]",
        *(f"{key} = {json.dumps(value)}" for key, value in sandbox.connection_keys.items()),
        'database = "TPCH"',
        "[postgres]",
        f'uri = "{postgres.uri}"',
        "[export]",
        f'directory = "{export}"',
    ]
    for table in TABLES:
        lines += ["[[table]]", f'source = "TPCH.PUBLIC.{table.upper()}"']
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o600)


# One number a table that does not depend on the order of its rows: the sum of 60 bits of each row's md5. The two servers
# print integers, decimals with their scale, text and ISO dates alike, so equal numbers mean equal content.
def source_content(file: Path) -> tuple[int, int]:
    connection = duckdb.connect()
    columns = [row[0] for row in connection.execute(f"describe select * from '{file}'").fetchall()]
    text = ", ".join(f'"{column}"::varchar' for column in columns)
    row = connection.execute(
        f"select count(*), sum(('0x' || left(md5(concat_ws('|', {text})), 15))::ubigint::hugeint) from '{file}'"
    ).fetchone()
    return int(row[0]), int(row[1])


def target_content(postgres: PrivatePostgres, table: str) -> tuple[int, int]:
    columns = postgres.psql(
        "select string_agg(format('%I::text', attname), ', ' order by attnum) from pg_attribute "
        f"where attrelid = 'public.{table}'::regclass and attnum > 0"
    )
    answer = postgres.psql(
        f"select count(*), sum(('x' || left(md5(concat_ws('|', {columns})), 15))::bit(60)::bigint::numeric) from public.{table}"
    )
    count, content = answer.split("|")
    return int(count), int(content)


def compare(data: Path, postgres: PrivatePostgres) -> bool:
    equal = True
    for table in TABLES:
        wanted = source_content(data / f"{table.upper()}.parquet")
        got = target_content(postgres, table)
        verdict = "equal" if wanted == got else f"DIFFERENT: source {wanted}, target {got}"
        print(f"{table:<10}{wanted[0]:>12,} rows  {verdict}")
        equal = equal and wanted == got
    return equal


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--scale", type=float, default=0.1)
    scale = arguments.parse_args().scale
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="snowmelt-demo-") as scratch:
        data = Path(scratch) / "data" / "TPCH" / "PUBLIC"
        print(f"demo: making TPC-H at scale {scale:g}", flush=True)
        make_tpch(scale, data)
        with Sandbox("--data", Path(scratch) / "data") as sandbox, PrivatePostgres() as postgres:
            configuration = Path(scratch) / "snowmelt.toml"
            write_configuration(configuration, sandbox, postgres, Path(scratch) / "export")
            print(f"demo: snowmelt run over {len(TABLES)} tables", flush=True)
            run = subprocess.run([ROOT / "build" / "snowmelt", "run", "--config", configuration], env=os.environ, check=False)
            if run.returncode != 0:
                return run.returncode
            print("\ndemo: source by DuckDB, target by psql", flush=True)
            logins = sum(sandbox.stats()["logins"].values())
            equal = compare(data, postgres)
    print(f"logins counted by the server: {logins}")
    print("demo: all eight tables equal" if equal else "demo: tables differ")
    return 0 if equal and logins == 1 else 11


if __name__ == "__main__":
    sys.exit(main())
