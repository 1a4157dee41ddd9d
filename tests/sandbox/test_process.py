"""The process: its one line, its end, what it leaves and what it needs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from raw_client import RawClient, get
from snowmelt_sandbox.testing import PATIENCE, Sandbox, until

COMMAND = [sys.executable, "-m", "snowmelt_sandbox"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_line_and_a_quick_end(data: Path, tmp_path: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [*COMMAND, "--port", "0", "--data", str(data), "--inline-rows", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["ready"] and ready["url"] == f"http://127.0.0.1:{ready['port']}"
        assert "SHOP.PUBLIC.ORDERS" in ready["tables"]
        server = Sandbox()
        server.ready = ready
        client = RawClient(server)
        client.login()
        assert client.query("select * from shop.public.orders")["data"]["chunks"]
        client.query("select system$wait(3600)", asyncExec=True)
        process.send_signal(number)
        rest, log = process.communicate(timeout=PATIENCE)
        assert (process.returncode, rest, log) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_loopback_only() -> None:
    for host in ("0.0.0.0", "192.0.2.1", "example.com"):
        done = subprocess.run([*COMMAND, "--host", host], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "loopback" in done.stderr and done.stdout == ""


def test_taken_port(sandbox: Sandbox) -> None:
    done = subprocess.run([*COMMAND, "--port", str(sandbox.port)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "cannot listen" in done.stderr


def test_ends_with_its_parent() -> None:
    script = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'snowmelt_sandbox', '--exit-with-parent'],"
        " stdout=subprocess.PIPE, text=True); p.stdout.readline(); print(p.pid)"
    )
    pid = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    until(lambda: _state(pid) == "Z")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def _peak_megabytes(pid: int) -> int:
    (line,) = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def test_memory_does_not_follow_the_table(tmp_path: Path) -> None:
    """A table of 800 MB in memory passes through with far less."""
    folder = tmp_path / "BIG" / "PUBLIC"
    folder.mkdir(parents=True)
    rows = 250_000
    text = pa.array(["x" * 400]).take(pa.array(np.zeros(rows, np.int64)))
    table = pa.table({"k": pa.array(np.arange(rows)), "t": text})
    with pq.ParquetWriter(folder / "T.parquet", table.schema) as writer:
        for _ in range(8):
            writer.write_table(table, row_group_size=50_000)
    with Sandbox("--data", tmp_path) as server:
        client = RawClient(server)
        client.login()
        before = _peak_megabytes(server.pid)
        data = client.query("select * from big.public.t")["data"]
        assert data["total"] == 8 * rows
        assert all(get(c["url"], data["chunkHeaders"])[0] == 200 for c in data["chunks"])
        assert _peak_megabytes(server.pid) - before < 400
