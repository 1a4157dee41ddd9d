"""`make bench`: snowmelt beside its peers on TPC-H lineitem, in one run, in turns, every result counted and summed.

SCALE (TPC-H scale factor, 1: 6,001,215 rows) and REPEAT come from the environment. One table is printed: medians of wall
seconds, CPU seconds of the client and of PostgreSQL, peak memory of the client, and the ratio of the wall time to snowmelt's.
Exits with 1 when snowmelt falls short of a gate.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path

import duckdb

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from snowmelt_sandbox.postgres import PrivatePostgres  # noqa: E402
from snowmelt_sandbox.testing import Sandbox  # noqa: E402

from demo.demo import make_tpch  # noqa: E402

PEERS = ROOT / ".cache" / "bench-venv" / "bin" / "python"
OWN_PYTHON = ROOT / ".venv" / "bin" / "python"  # has snowflake-connector-python 4
SNOWMELT = ROOT / "build" / "snowmelt"
SUMS = "count(*), sum(l_orderkey), sum(l_quantity), sum(l_extendedprice), sum(l_tax), sum(length(l_comment)), max(l_shipdate)"


@dataclass
class Sample:
    wall: float
    cpu: float
    server_cpu: float
    rss: float  # MB


@dataclass
class Contender:
    name: str
    group: str  # export, load, run, limit …
    run: Callable[[Path], None]
    samples: list[Sample] = field(default_factory=list)
    note: str = ""

    def median(self, what: str) -> float:
        return statistics.median(getattr(sample, what) for sample in self.samples)


def postmaster_cpu(postgres: PrivatePostgres) -> float:
    """CPU seconds of the cluster, backends that have ended included."""
    pid = int((postgres.directory / "data" / "postmaster.pid").read_text().split()[0])
    ticks = 0
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(process.name) == pid:
            ticks += sum(int(value) for value in fields[11:15])
        elif int(fields[1]) == pid:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Bench:
    def __init__(self, scale: float, repeat: int, scratch: Path, sandbox: Sandbox, postgres: PrivatePostgres) -> None:
        self.scale, self.repeat, self.scratch, self.sandbox, self.postgres = scale, repeat, scratch, sandbox, postgres
        self.parquet = scratch / "data" / "TPCH" / "PUBLIC" / "LINEITEM.parquet"
        self.wanted = self.sums_of(self.parquet)
        self.contenders: list[Contender] = []
        self.missing: list[str] = []

    def sums_of(self, files: Path | str) -> tuple:
        row = duckdb.connect().execute(f"select {SUMS} from read_parquet('{files}')").fetchone()
        return tuple(str(value) for value in row)

    def check_export(self, directory: Path) -> None:
        got = self.sums_of(f"{directory}/*.parquet")
        # The connector gives NUMBER(p,0) its own widths; the sums must be the same numbers.
        if [float(a) if "-" not in a else a for a in got] != [float(a) if "-" not in a else a for a in self.wanted]:
            raise SystemExit(f"bench: wrong export: {got} instead of {self.wanted}")

    def check_load(self, table: str = "lineitem") -> None:
        got = tuple(self.postgres.psql(f"select {SUMS} from {table}").split("|"))
        if got != self.wanted:
            raise SystemExit(f"bench: wrong load: {got} instead of {self.wanted}")

    def command(self, *arguments: str | Path, cwd: Path | None = None) -> tuple[float, float]:
        """Runs a child; its CPU seconds and peak MB."""
        with (self.scratch / "command.log").open("w+") as log:
            child = subprocess.Popen(
                [str(a) for a in arguments], cwd=cwd or self.scratch, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode != 0:
                log.seek(0)
                raise RuntimeError(f"{arguments[:4]} ended with {child.returncode}: {log.read()[-2000:]}")
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024

    def peers(self, commands: tuple[str, ...], directory: Path, python: Path = PEERS) -> tuple[float, float]:
        server = f"{self.sandbox.host}:{self.sandbox.port}"
        places = ["--server", server, "--postgres", self.postgres.uri, "--directory", directory]
        return self.command(python, ROOT / "bench" / "peers.py", *commands, *places)

    def peer(self, command: str, directory: Path, python: Path = PEERS) -> tuple[float, float]:
        return self.peers((command,), directory, python)

    def peer_from(self, command: str, source: Path, _: Path) -> tuple[float, float]:
        return self.peers((command,), source)

    def peer_into(self, commands: tuple[str, ...], directory: Path) -> tuple[float, float]:
        return self.peers(commands, directory)

    def snowmelt(self, command: str, directory: Path, mode: str = "truncate") -> tuple[float, float]:
        lines = ["[snowflake]", *(f"{key} = {json.dumps(value)}" for key, value in self.sandbox.connection_keys.items())]
        lines += ["[postgres]", f'uri = "{self.postgres.uri}"', "[export]", f'directory = "{directory}"']
        lines += ["[[table]]", 'source = "TPCH.PUBLIC.LINEITEM"', 'target = "public.lineitem"', f'mode = "{mode}"']
        configuration = self.scratch / "snowmelt.toml"
        configuration.write_text("\n".join(lines) + "\n")
        configuration.chmod(0o600)
        return self.command(SNOWMELT, command, "--config", configuration)

    def measure(self, contender: Contender) -> None:
        directory = self.scratch / "out"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        if contender.group in ("load", "run"):
            self.postgres.psql("truncate lineitem")
            self.postgres.psql("checkpoint")
        server_before, started = postmaster_cpu(self.postgres), time.monotonic()
        cpu, rss = contender.run(directory)
        wall = time.monotonic() - started
        server = postmaster_cpu(self.postgres) - server_before
        if contender.group == "export" and not contender.name.startswith("limit"):
            self.check_export(next(iter(p.parent for p in directory.rglob("*.parquet"))))
        if contender.group in ("load", "run"):
            self.check_load()
        contender.samples.append(Sample(wall, cpu, server, rss))

    def in_turns(self, contenders: list[Contender]) -> None:
        """Peers and ours one after the other, round by round, so that whatever else the machine does hits all alike."""
        alive = list(contenders)
        for turn in range(self.repeat):
            for contender in list(alive):
                print(f"bench: {contender.group} {turn + 1}/{self.repeat}: {contender.name}", file=sys.stderr, flush=True)
                try:
                    self.measure(contender)
                except RuntimeError as error:
                    alive.remove(contender)
                    self.missing.append(f"{contender.group}, {contender.name}: {str(error)[-300:]}")
        self.contenders += [c for c in contenders if c.samples]

    def exports(self) -> None:
        self.snowmelt("export", self.scratch / "warm")  # fills the sandbox's cache of chunks: no contender pays for it
        self.export = next(iter(p.parent for p in (self.scratch / "warm").rglob("*.parquet")))
        peers = {
            "snowflake-connector-python 5.2 + pyarrow": ("export-connector", PEERS),
            "snowflake-connector-python 4.8 + pyarrow": ("export-connector", OWN_PYTHON),
            "ADBC Snowflake 1.11 + pyarrow": ("export-adbc", PEERS),
            "limit: chunks downloaded, nothing else": ("download", PEERS),
        }
        ours = Contender("snowmelt export", "export", lambda d: self.snowmelt("export", d))
        self.in_turns([ours, *(Contender(n, "export", partial(self.peer, c, python=p)) for n, (c, p) in peers.items())])

    def import_ours(self, _: Path) -> tuple[float, float]:
        return self.snowmelt("import", self.scratch / "warm")

    def encode(self) -> None:
        """The limit's bytes: what PostgreSQL writes for the loaded table, whole and in two halves."""
        for name, where in (("one", "true"), ("two/a", "l_orderkey % 2 = 0"), ("two/b", "l_orderkey % 2 = 1")):
            file = self.scratch / "encoded" / (name + ("/all.bin" if name == "one" else ".bin"))
            file.parent.mkdir(parents=True, exist_ok=True)
            self.postgres.psql(f"copy (select * from lineitem where {where}) to '{file}' with (format binary)")

    def loads(self) -> None:
        self.postgres.psql("drop table if exists lineitem")
        self.snowmelt("import", self.scratch / "warm", mode="create")
        self.check_load()
        (self.scratch / "encoded").mkdir()
        os.chmod(self.scratch, 0o755)
        os.chmod(self.scratch / "encoded", 0o777)
        for part in ("one", "two"):
            (self.scratch / "encoded" / part).mkdir()
            os.chmod(self.scratch / "encoded" / part, 0o777)
        self.encode()
        encoded = self.scratch / "encoded"
        peers = {
            "limit: pre-encoded bytes, one connection": ("load-encoded", encoded / "one"),
            "limit: pre-encoded bytes, two connections": ("load-encoded", encoded / "two"),
            "pgpq 0.12 + psycopg": ("load-pgpq", self.export),
            "ADBC PostgreSQL 1.13": ("load-adbc", self.export),
            "DuckDB 1.5 postgres": ("load-duckdb", self.export),
            "pyarrow CSV + psycopg COPY": ("load-psycopg-csv", self.export),
        }
        ours = Contender("snowmelt import", "load", self.import_ours)
        self.in_turns([ours, *(Contender(n, "load", partial(self.peer_from, c, source)) for n, (c, source) in peers.items())])

    def runs(self) -> None:
        recipes = {
            "connector 5.2 -> Parquet -> pgpq": ("export-connector", "load-pgpq"),
            "ADBC Snowflake -> Parquet -> ADBC PostgreSQL": ("export-adbc", "load-adbc"),
        }
        ours = Contender("snowmelt run", "run", lambda d: self.snowmelt("run", d))
        self.in_turns([ours, *(Contender(n, "run", partial(self.peer_into, c)) for n, c in recipes.items())])

    def table(self) -> str:
        lines = ["| | wall s | client CPU s | server CPU s | peak MB | wall / snowmelt's |", "|---|---:|---:|---:|---:|---:|"]
        for group in ("export", "load", "run"):
            members = [c for c in self.contenders if c.group == group]
            ours = next((c for c in members if c.name.startswith("snowmelt")), None)
            for c in members:
                ratio = f"{c.median('wall') / ours.median('wall'):.2f}" if ours else ""
                cells = (c.name, *(f"{c.median(w):.1f}" for w in ("wall", "cpu", "server_cpu")), f"{c.median('rss'):.0f}", ratio)
                lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def ratio(self, group: str, peer: str) -> float | None:
        found = {c.name: c.median("wall") for c in self.contenders if c.group == group}
        ours = next((wall for name, wall in found.items() if name.startswith("snowmelt")), None)
        other = next((wall for name, wall in found.items() if name.startswith(peer)), None)
        return other / ours if ours and other else None


# What must hold, or the target fails: (group, peer, least ratio of the peer's wall time to ours).
GATES = [("export", "snowflake-connector-python 5.2", 1.0), ("load", "pgpq", 1.0)]
# What the project wants on a quiet machine of two cores; shown, and binding with STRICT=1.
GOALS = [
    ("export", "snowflake-connector-python 5.2", 1.6),
    ("export", "ADBC", 2.3),
    ("load", "limit: pre-encoded bytes, one", 1 / 1.15),
    ("load", "limit: pre-encoded bytes, two", 1 / 1.30),
    ("load", "pgpq", 1.4),
    ("load", "ADBC", 2.0),
    ("load", "DuckDB", 2.3),
    ("load", "pyarrow CSV", 2.3),
    ("run", "connector", 2.3),
]


def verdicts(bench: Bench) -> bool:
    good = True
    strict = os.environ.get("STRICT") == "1"
    for kind, rules in (("gate", GATES), ("goal", GOALS)):
        for group, peer, least in rules:
            ratio = bench.ratio(group, peer)
            reached = ratio is not None and ratio >= least
            measured = "not measured" if ratio is None else f"{ratio:.2f}"
            print(f"{kind}: {group}, {peer}: {measured} (wanted {least:.2f}): {'reached' if reached else 'MISSED'}")
            good = good and (reached or (kind == "goal" and not strict))
    return good


def machine() -> str:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    models = (
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    )
    model = next(models, "unknown")
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release().split('-')[0]}"


def main() -> int:
    scale, repeat = float(os.environ.get("SCALE", "1")), int(os.environ.get("REPEAT", "3"))
    only = sys.argv[1:] or ["exports", "loads", "runs"]
    with tempfile.TemporaryDirectory(prefix="snowmelt-bench-") as scratch_name:
        scratch = Path(scratch_name)
        make_tpch(scale, scratch / "data" / "TPCH" / "PUBLIC")
        with Sandbox("--data", scratch / "data") as sandbox, PrivatePostgres() as postgres:
            bench = Bench(scale, repeat, scratch, sandbox, postgres)
            bench.exports()
            if "exports" not in only:
                bench.contenders.clear()
            if "loads" in only or "runs" in only:
                bench.loads()
            if "runs" in only:
                bench.runs()
            title = f"TPC-H lineitem, scale {scale:g}, {bench.wanted[0]} rows; medians of {repeat}; {machine()}; {date.today()}"
            text = f"{title}\n\n{bench.table()}\n"
            text += "".join(f"\nnot measured: {line}\n" for line in bench.missing)
            print(text)
            good = verdicts(bench)
            if scale >= 1:
                (ROOT / "bench" / "RESULTS.md").write_text(
                    "# Results of the last full run of `make bench`\n\n"
                    + text
                    + "\nThe server and the clients share the machine's cores. Ratios count, not seconds.\n"
                )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
