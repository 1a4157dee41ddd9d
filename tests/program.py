"""The program under test in a directory of its own, and what it leaves behind.

Not in conftest.py: with a conftest.py in a folder below, that name says nothing to an import.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from snowmelt_sandbox.testing import PATIENCE, Sandbox

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / os.environ.get("SNOWMELT_BUILD", "build")  # another preset's: SNOWMELT_BUILD=build-asan
SNOWMELT = BUILD / "snowmelt"
SANITIZED = BUILD.name == "build-asan"  # its memory is mostly the sanitizer's: bounds of ours say nothing there


if SANITIZED:
    os.environ.pop("LD_PRELOAD", None)  # this process has it; servers go without


def sanitized(environment: dict[str, str]) -> dict[str, str]:
    """Python takes the instrumented package. The sanitizer's library has to be the first of all, and libstdc++ there with it: it
    looks for what throws when it starts."""
    if not SANITIZED:
        return environment

    def library(name: str) -> str:
        return subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()

    preloaded = [library("libasan.so"), library("libstdc++.so.6"), environment.get("LD_PRELOAD", "")]
    paths = [str(BUILD / "python"), environment.get("PYTHONPATH", "")]
    return {
        **environment,
        "LD_PRELOAD": ":".join(filter(None, preloaded)),
        "PYTHONPATH": ":".join(filter(None, paths)),
        "ARROW_DEFAULT_MEMORY_POOL": "system",  # the sanitizer sees each allocation of Arrow's
    }


# A login may ask a person where a browser is named: no test has a terminal.
SOMEBODY = {"BROWSER": "true"}


@dataclass
class Outcome:
    code: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict:
        return json.loads(self.stdout)


@dataclass
class Project:
    """A directory with a snowmelt.toml, and the command run in it."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def configure(
        self,
        *,
        snowflake: dict | None = None,
        postgres: str | None = None,
        loading: dict | None = None,
        tables: list[dict] = (),
        extra: str = "",
    ) -> None:
        """`postgres` is a URI, `loading` other keys of its section; `extra` follows [export]."""

        def section(name: str, keys: dict) -> list[str]:
            return [name, *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]

        lines = section("[snowflake]", snowflake or {})
        lines += section("[postgres]", {**({"uri": postgres} if postgres else {}), **(loading or {})})
        lines += section("[export]", {"directory": str(self.export)})
        lines.append(extra)
        for table in tables:
            lines += section("[[table]]", table)
        self.write("\n".join(lines) + "\n")

    def write(self, text: str) -> None:
        (self.directory / "snowmelt.toml").write_text(text)
        (self.directory / "snowmelt.toml").chmod(0o600)

    @property
    def export(self) -> Path:
        return self.directory / "export"

    def manifests(self) -> list[Path]:
        return sorted(self.directory.rglob("*manifest*"))

    def unfinished(self) -> list[Path]:
        """What a run that ended must not leave: temporary files, and parts that no manifest names."""
        files = [f for f in self.directory.rglob("*") if f.is_file() and f.relative_to(self.directory).parts[0] != "home"]
        named = {m.parent / part["file"] for m in self.manifests() for part in json.loads(m.read_text())["parts"]}
        return [f for f in files if f.name.endswith(".tmp") or (f.suffix == ".parquet" and f not in named)]

    def command(self, *arguments: str) -> list[str]:
        return [str(SNOWMELT), *arguments]

    # Nothing of the caller's own configuration, and no cache of his, is seen by the program.
    def variables(self, **environment: str) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SNOWFLAKE_", "PG", "SNOWMELT_", "SF_"))}
        (self.directory / "home").mkdir(exist_ok=True)
        return sanitized({**inherited, "HOME": str(self.directory / "home"), **SOMEBODY, **self.environment, **environment})

    def start(self, *arguments: str, prefix: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
        """The command in a session of its own, so that what it leaves behind can be found."""
        environment = self.variables(**options.pop("environment", {}))
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        command = [*prefix, *self.command(*arguments)]
        return subprocess.Popen(command, cwd=self.directory, env=environment, start_new_session=True, **options)

    def run(self, *arguments: str, timeout: float = PATIENCE, **environment: str) -> Outcome:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.directory,
            env=self.variables(**environment),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def run_measured(self, *arguments: str, timeout: float = 250) -> tuple[Outcome, int]:
        """The command under a small process of its own, and its peak in KB (0 under a sanitizer): the count starts from the
        parent's size, and this one's is large."""
        measured = (
            "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(code % 256)"
        )
        done = subprocess.run(
            [sys.executable, "-c", measured, *self.command(*arguments)],
            cwd=self.directory,
            env=self.variables(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr), 0 if SANITIZED else int(done.stderr.split()[-1])


def exported(directory: Path, tables: dict[str, pa.Table], *options: str | int) -> Path:
    """The export directory of tables that a sandbox has served as D.PUBLIC.<name>, with `options` of the sandbox."""
    data = directory / "data"
    (data / "D" / "PUBLIC").mkdir(parents=True)
    for name, table in tables.items():
        pq.write_table(table, data / "D" / "PUBLIC" / f"{name}.parquet")
    project = Project(directory)
    with Sandbox("--data", data, *options) as sandbox:
        project.configure(
            snowflake=sandbox.connection_keys, tables=[{"source": f"D.PUBLIC.{name}", "target": name} for name in tables]
        )
        outcome = project.run("export")
    assert outcome.code == 0, outcome.stderr
    return project.export


def signed(manifest: dict) -> str:
    """A plain manifest with its digest (docs/export.md): anybody can make one."""
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return json.dumps({**body, "sha256": hashlib.sha256(text.encode()).hexdigest()})


def processes_of_session(session: int) -> list[int]:
    """Processes that live in a session; zombies are dead."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, owner = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(owner) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found
