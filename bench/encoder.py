"""`make bench-encoder`: nanoseconds a value from Arrow to COPY bytes by type, CPU seconds for lineitem, beside pgpq's encoder.

SCALE is TPC-H's; the goal is 1.6 CPU seconds at scale 1 (6,001,215 rows). Exits with 1 when it is missed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".cache" / "bench-venv" / "bin" / "python"
ROWS = 64 * 1024
GOAL = 1.6


def types() -> dict:
    import decimal

    import pyarrow as pa

    numbers = [i * 2_654_435_761 % 10**7 for i in range(ROWS)]

    def of(kind: pa.DataType, make: Callable) -> pa.Array:
        return pa.array([make(n) for n in numbers], kind)

    return {
        "int16": of(pa.int16(), lambda n: n % 30_000), "int32": of(pa.int32(), lambda n: n),
        "int64": of(pa.int64(), lambda n: n), "double": of(pa.float64(), float), "bool": of(pa.bool_(), lambda n: n % 2 == 0),
        "date": of(pa.date32(), lambda n: n % 20_000), "time": of(pa.time64("us"), lambda n: n),
        "timestamp": of(pa.timestamp("us"), lambda n: n * 10**8),
        "decimal64(12,2)": of(pa.decimal128(12, 2), lambda n: decimal.Decimal(n).scaleb(-2)),
        "decimal64(18,6)": of(pa.decimal128(18, 6), lambda n: decimal.Decimal(n * 10**10).scaleb(-6)),
        "text of 8": of(pa.string(), lambda n: chr(97 + n % 26) * 8),
        "text of 100": of(pa.string(), lambda n: chr(97 + n % 26) * 100),
        "binary of 32": of(pa.binary(), lambda n: bytes([n % 256]) * 32),
    }  # fmt: skip


def pgpq_seconds(batches: list) -> float:
    from pgpq import ArrowToPostgresBinaryEncoder

    encoder = ArrowToPostgresBinaryEncoder(batches[0].schema)
    encoder.write_header()
    started = time.process_time()
    for batch in batches:
        encoder.write_batch(batch)
    return time.process_time() - started


def pgpq(file: str) -> None:
    """In the peers' environment: nanoseconds a value by type, and the seconds of a whole file (decoded beforehand)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = {}
    for name, array in types().items():
        batch = pa.record_batch([array], ["c"])
        try:
            found[name] = min(pgpq_seconds([batch]) for _ in range(20)) / ROWS * 1e9
        except BaseException as error:  # a panic of its Rust is no Exception
            found[name] = type(error).__name__
    found["file"] = min(pgpq_seconds(list(pq.ParquetFile(file).iter_batches(ROWS))) for _ in range(3))
    print(json.dumps(found))


def ours(file: Path) -> dict[str, float]:
    program = ROOT / "build" / "src" / "snowmelt" / "load" / "copy_encoder_bench"
    command = [program, "--benchmark_format=json", "--benchmark_repetitions=5", "--benchmark_report_aggregates_only=true"]
    text = subprocess.run(command, env={**os.environ, "SNOWMELT_BENCH_FILE": str(file)}, capture_output=True, check=True).stdout
    found = {}
    for result in json.loads(text)["benchmarks"]:
        if result.get("aggregate_name") == "median":
            found[result["run_name"]] = result["cpu_time"] if result["run_name"] == "file" else result["ns_per_value"]
    return found


def main() -> int:
    sys.path.insert(0, str(ROOT))
    from bench.run import machine, record
    from demo.demo import make_tpch

    scale = float(os.environ.get("SCALE", "1"))
    with tempfile.TemporaryDirectory(prefix="snowmelt-bench-") as scratch:
        make_tpch(min(scale, 0.2), Path(scratch) / "tpch")  # a fifth fits in memory decoded; seconds are scaled up
        file = Path(scratch) / "tpch" / "LINEITEM.parquet"
        mine = ours(file)
        theirs = json.loads(subprocess.run([PEERS, __file__, "pgpq", file], capture_output=True, check=True).stdout)
    up = scale / min(scale, 0.2)
    lines = ["| ns a value | snowmelt | with 10 % NULL | pgpq | pgpq / snowmelt |", "|---|---:|---:|---:|---:|"]
    for name in (n for n in mine if "NULL" not in n and n != "file"):
        peer = theirs.get(name)
        ratio = f"{peer / mine[name]:.1f}" if isinstance(peer, float) else ""
        shown = f"{peer:.1f}" if isinstance(peer, float) else peer or "not taken"
        lines.append(f"| {name} | {mine[name]:.1f} | {mine[f'{name}, 10 % NULL']:.1f} | {shown} | {ratio} |")
    seconds, peer = mine["file"] * up, theirs["file"] * up
    lines.append(f"| **lineitem, scale {scale:g}, CPU s** | {seconds:.2f} | | {peer:.2f} | {peer / seconds:.1f} |")
    text = f"{machine()}; medians of 5, pgpq's best of 20; Arrow in memory to COPY bytes in memory\n\n" + "\n".join(lines)
    print(text)
    if scale >= 1:
        record("`make bench-encoder`", text)
    reached = seconds <= GOAL * scale
    print(f"goal: {seconds:.2f} CPU s for lineitem (wanted {GOAL * scale:.2f}): {'reached' if reached else 'MISSED'}")
    return 0 if reached else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["pgpq"]:
        pgpq(sys.argv[2])
    else:
        sys.exit(main())
