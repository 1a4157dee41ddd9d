"""What a person at a terminal sees, and what lands in a log when nobody is there."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from program import Project
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import PATIENCE, Sandbox

from demo.demo import TABLES

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def server(tpch: Callable[[float], Path]) -> Iterator[Sandbox]:
    with Sandbox("--data", tpch(0.02), "--chunk-max-rows", 2_000) as sandbox:
        yield sandbox


@pytest.fixture
def job(project: Project, server: Sandbox, postgres: PrivatePostgres, database: psycopg.Connection) -> Iterator[Project]:
    tables = [{"source": f"TPCH.PUBLIC.{name.upper()}", "mode": "replace"} for name in TABLES]
    project.configure(snowflake=server.connection_keys, postgres=postgres.uri, tables=tables)
    yield project
    server.clear_faults()


def on_terminal(job: Project, columns: int, *arguments: str, **environment: str) -> tuple[int, str]:
    """The command with a terminal of so many columns as stdin, stdout and stderr: exit code and all it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    variables = job.variables(TERM="xterm-256color", **environment)
    process = subprocess.Popen(
        job.command(*arguments),
        cwd=job.directory,
        env=variables,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 65536):
            written += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    return process.wait(timeout=PATIENCE), written.decode()


def bars(written: str) -> list[str]:
    return [line for line in re.split(r"[\r\n]+", ESCAPES.sub("", written)) if re.search(r"\[[#.]+\]", line)]


@pytest.mark.parametrize("columns", [30, 40, 80, 200])
def test_lines_fit_the_terminal(columns: int, job: Project, server: Sandbox) -> None:
    server.fault("chunk", "delay", seconds=0.15, times=200)
    code, written = on_terminal(job, columns, "run")
    assert code == 0
    seen = bars(written)
    assert seen, written
    assert max(map(len, seen)) < columns
    plain = [line for line in re.split(r"[\r\n]+", ESCAPES.sub("", written)) if line]
    summary = plain[next(i for i, line in enumerate(plain) if line.startswith("source ")) :]
    assert len(summary) == 1 + len(TABLES) + 2
    assert all(len(line) <= max(columns, 28) for line in summary[: 1 + len(TABLES)]), summary
    assert summary[-1] == "logins: 1"
    assert all(line.endswith("ok") for line in summary[1 : 1 + len(TABLES)])
    if columns >= 80:
        assert any("read" in bar and "loaded" in bar and "left" in bar for bar in seen)
        assert "parquet" in summary[0]
    # The share of a table never goes back.
    shares: dict[str, int] = {}
    for bar in seen:
        name, share = bar.split()[0], int(re.search(r"(\d+)%", bar)[1])
        assert share >= shares.get(name, 0), bar
        shares[name] = share


def test_colours_can_be_refused(job: Project) -> None:
    assert "\x1b[32m" in on_terminal(job, 80, "run")[1]
    assert "\x1b[32m" not in on_terminal(job, 80, "run", NO_COLOR="1")[1]


def test_a_pipe_gets_whole_lines_without_escapes(job: Project, server: Sandbox) -> None:
    """A line every ten seconds: enough to see life in a log, not enough to fill it."""
    server.fault("query", "hold", sql="LINEITEM")
    started = time.monotonic()
    process = job.start("run", "--table", "lineitem")
    first = process.stderr.readline()
    assert time.monotonic() - started > 10
    server.clear_faults()
    stdout, stderr = process.communicate(timeout=PATIENCE)
    lasted = time.monotonic() - started
    assert process.returncode == 0
    assert "\x1b" not in first + stderr + stdout
    assert "\r" not in first + stderr
    assert first.startswith("TPCH.PUBLIC.LINEITEM: 0 read, 0 loaded") and "rows/s" in first
    assert 1 + stderr.count("rows/s") <= lasted / 10


def test_logs_may_be_json(job: Project, server: Sandbox) -> None:
    server.fault("chunk", "status", code=503, times=2)
    outcome = job.run("run", "--json", "--verbose", "--log-format", "json", "--table", "lineitem")
    assert outcome.code == 0, outcome.stderr
    assert outcome.report["status"] == "ok"
    records = [json.loads(line) for line in outcome.stderr.splitlines() if line.startswith("{")]
    assert records
    assert all(set(record) >= {"level", "message"} for record in records)


def test_the_terminal_goes_away(job: Project, server: Sandbox) -> None:
    """The window is closed: SIGHUP comes, and writing to the terminal fails. Nothing hangs, no child stays."""
    server.fault("chunk", "hold", times=-1)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        job.command("run"), cwd=job.directory, env=job.variables(TERM="xterm"), stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that the kernel tells the program
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while not bars(written.decode(errors="replace")):
        written += os.read(ours, 65536)
    os.close(ours)
    assert process.wait(timeout=PATIENCE) == 129
    assert job.unfinished() == []


def shown(written: str) -> list[str]:
    """The lines of a wide terminal after all that was written: moves up, erasures, and the echo of ^C are done."""
    lines, row, column = [""], 0, 0
    for up, erase, end, text in re.findall(r"\x1b\[(\d+)A|(\x1b\[J)|([\r\n])|([^\x1b\r\n]+|\x1b\[[0-9;]*m)", written):
        if up:
            row = max(0, row - int(up))
        elif erase:
            lines[row:] = [lines[row][:column]]
        elif end == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif end:
            column = 0
        elif not text.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
            column += len(text)
    return lines


def test_control_c_leaves_no_rest_of_a_bar(job: Project, server: Sandbox) -> None:
    """The terminal echoes ^C where the cursor is; the next line begins at the edge nevertheless."""
    server.fault("chunk", "delay", seconds=0.3, times=200)
    code, written = on_terminal(job, 200, "run", "--table", "lineitem")
    assert code == 0
    moves = re.findall(r"\x1b\[\d+A\x1b\[J", written)
    assert len(moves) > 2
    # The echo before each erasure, as if ^C were held down.
    lines = shown(re.sub(r"(\r?\x1b\[\d+A\x1b\[J)", r"^C\1", written))
    assert any(line.startswith("done TPCH") for line in lines), lines
    assert [line for line in lines if "[#" in line or "^C" in line] == []
