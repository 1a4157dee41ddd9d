"""Snowflake's Go driver, the one that snowmelt embeds, reads chunked results from the sandbox."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from orders import ROWS, orders_table
from snowmelt_sandbox.testing import PATIENCE, Sandbox

SOURCE = Path(__file__).parent / "gosnowflake_reader"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("go") is None:
        pytest.skip("go is not on PATH")
    program = tmp_path_factory.mktemp("go") / "reader"
    build = ["go", "build", "-tags", "minicore_disabled", "-o", str(program), "."]
    subprocess.run(build, cwd=SOURCE, check=True, timeout=3 * PATIENCE)
    return program


def run(reader: Path, server: Sandbox, query: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = [str(reader), "-port", str(server.port), "-query", query]
    environment = {**os.environ, "HOME": str(home), "SNOWFLAKE_DISABLE_PLATFORM_DETECTION": "true"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE, check=False)


def checksum(rows: list[tuple[str | None, ...]]) -> int:
    """As the Go program computes it: the sum of each row's FNV-1a."""
    total = 0
    for row in rows:
        value = 0xCBF29CE484222325
        for byte in b"".join((b"\0" if v is None else v.encode()) + b"|" for v in row):
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
        total += value
    return total & 0xFFFFFFFFFFFFFFFF


def test_reads_a_chunked_table(reader: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    before = sandbox.stats()["chunks"]
    done = run(reader, sandbox, "select o_key, o_small, o_text, o_date, o_price from orders", tmp_path)
    assert done.returncode == 0, done.stderr
    source = orders_table().to_pylist()
    rows = [(str(r["o_key"]), str(r["o_small"]), r["o_text"], f"{r['o_date']}T00:00:00Z", f"{r['o_price']:.2f}") for r in source]
    assert json.loads(done.stdout) == {"rows": ROWS, "checksum": checksum(rows), "columns": 5}
    assert sandbox.stats()["chunks"] > before


@pytest.mark.parametrize("options", [["--int-width", "chunk"], ["--no-inline"], ["--qrmk"], ["--no-content-encoding"]])
def test_reads_every_shape(reader: Path, data: Path, tmp_path: Path, options: list[str]) -> None:
    with Sandbox("--data", data, "--chunk-max-rows", 10_000, *options) as server:
        done = run(reader, server, "select o_key from orders", tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "rows": ROWS,
        "checksum": checksum([(str(n),) for n in range(ROWS)]),
        "columns": 1,
    }


def test_renewal_polling_and_errors(reader: Path, data: Path, tmp_path: Path) -> None:
    with Sandbox("--data", data, "--async-after", 0.1) as server:
        server.fault("query", "expire_session")
        done = run(reader, server, "select system$wait(0.5)", tmp_path)
        assert json.loads(done.stdout)["rows"] == 1, done.stderr
        stats = server.stats()
        assert stats["renewals"] == 1 and stats["async_polls"] >= 2 and stats["sessions_open"] == 0
        done = run(reader, server, "select * from nowhere", tmp_path)
        assert done.returncode == 1 and "002003 (42S02)" in done.stderr
