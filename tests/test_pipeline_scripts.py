"""``python -m pipeline.export_data`` and ``import_data``: options, messages and exit codes as the command line has them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from program import ROOT
from python_fixtures import ITEMS, Sales

Script = Callable[..., "subprocess.CompletedProcess[str]"]
MODULES = ("export_data", "import_data")


@pytest.fixture
def script(configured: Path) -> Script:
    tables = "".join(f'[[table]]\nsource = "SALES.PUBLIC.{name}"\n' for name in ("ORDERS", "ITEMS"))
    write(configured / "snowmelt.toml", f'[export]\ndirectory = "{configured / "files"}"\n{tables}')

    def run(module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", f"pipeline.{module}", *arguments]
        variables = {**os.environ, "PYTHONPATH": str(ROOT / "python"), **environment}
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)

    return run


def write(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o600)


def counts(database: psycopg.Connection) -> list[int | None]:
    found = [database.execute("select to_regclass(%s)", (name,)).fetchone()[0] for name in ("orders", "items")]
    return [database.execute(f"select count(*) from {name}").fetchone()[0] if name else None for name in found]


@pytest.mark.parametrize("module", MODULES)
def test_help_and_usage_do_nothing(module: str, script: Script, configured: Path, sales: Sales) -> None:
    done = script(module, "--help")
    assert done.returncode == 0
    assert all(flag in done.stdout for flag in ("--config FILE", "--table NAME", "--json", "--help"))
    for arguments in (["--tabel", "items"], ["items"], ["--table"], ["--conf", "x"]):
        done = script(module, *arguments)
        assert done.returncode == 1, arguments
        assert done.stderr.startswith("error: ") and "--help" in done.stderr
    done = script(module, "--table", "nope")
    assert done.returncode == 1
    assert done.stderr.startswith("error: usage.unknown_table\n") and "called nope" in done.stderr
    done = script(module, "--config", "missing.toml")
    assert done.returncode == 2 and done.stderr.startswith("error: config.missing_file\n")
    write(configured / "empty.toml", "")
    done = script(module, "--config", "empty.toml", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "config.no_tables"
    assert sales.logins == 0
    assert not (configured / "files").exists()


def test_tables_are_picked_and_the_report_is_json(script: Script, sales: Sales, database: psycopg.Connection) -> None:
    done = script("export_data", "--table", "ITEMS", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["status"], report["logins"]) == ("ok", 1)
    assert [(t["source"], t["rows"], t["status"]) for t in report["tables"]] == [("SALES.PUBLIC.ITEMS", ITEMS, "ok")]
    assert sales.logins == 1
    done = script("import_data", "--json", "--table", "public.items")
    assert done.returncode == 0, done.stderr
    assert counts(database) == [None, ITEMS]
    # One that fails does not keep the others from their turn, and has its place in the report.
    done = script("import_data", "--json", "--table", "orders", "--table", "sales.public.items")
    report = json.loads(done.stdout)
    assert [t["status"] for t in report["tables"]] == ["failed", "failed"]
    assert done.returncode == report["tables"][0]["error"]["exit_code"] == 6
    assert report["status"] == "failed"
    message = report["tables"][1]["error"]["message"]
    assert f"error: SALES.PUBLIC.ITEMS: {message}\n" in done.stderr
    assert message.startswith("postgres.table_exists\n") and "\n  hint: " in message


def test_another_configuration(
    script: Script, configured: Path, sales: Sales, database: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--config rules for everything: servers, directory, tables. The one in the directory is not read."""
    servers = {name: os.environ[name] for name in os.environ if name.startswith(("SNOWFLAKE_", "PG"))}
    keys = "".join(f"{key} = {json.dumps(value)}\n" for key, value in sales.keys.items())
    postgres = f'host = "{servers["PGHOST"]}"\nuser = "{servers["PGUSER"]}"\ndbname = "{servers["PGDATABASE"]}"\n'
    text = f'[snowflake]\n{keys}[postgres]\n{postgres}[export]\ndirectory = "other"\n[[table]]\nsource = "SALES.PUBLIC.ITEMS"\n'
    write(configured / "other.toml", text)
    write(configured / "snowmelt.toml", "broken")
    for name in servers:
        monkeypatch.delenv(name)
    done = script("export_data", "--config", "other.toml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["✅ Connected to Snowflake", f"✅ SALES.PUBLIC.ITEMS: {ITEMS} rows in 1 file"]
    assert (configured / "other" / "SALES.PUBLIC.ITEMS" / "manifest.json").exists()
    done = script("import_data", "--config", "other.toml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"✅ public.items: {ITEMS} rows"
    assert counts(database) == [None, ITEMS]


def test_a_refused_login_ends_it(script: Script, sales: Sales) -> None:
    done = script("export_data", "--json", SNOWFLAKE_PASSWORD="wrong")
    assert done.returncode == 3
    report = json.loads(done.stdout)
    assert (report["status"], report["tables"], report["error"]["exit_code"]) == ("failed", [], 3)
    assert done.stderr.startswith("error: snowflake.") and "\n  hint: " in done.stderr
