"""What ``python -m pipeline.export_data`` and ``python -m pipeline.import_data`` are: the tables of a configuration, one manager.

Options, messages and exit codes are those of ``snowmelt export`` and ``snowmelt import``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from snowmelt import AuthenticationError, ConfigurationError, Error, Interrupted, UsageError, load_config


@dataclass(frozen=True)
class Script:
    """One of the two: how its manager is made and greeted, what is done to a table, what is said of a table that is done."""

    module: str
    description: str
    manager: Callable[..., Any]
    greet: Callable[[Any], str]
    work: Callable[..., dict[str, Any]]
    told: Callable[[dict[str, Any]], str]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"error: {message}\n  hint: --help lists the options", file=sys.stderr)
        sys.exit(UsageError.exit_code)


class _AsTheCommandLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"


def _parser(script: Script) -> _Parser:
    parser = _Parser(
        prog=f"python -m pipeline.{script.module}",
        description=script.description,
        epilog="SNOWMELT_PASSWORD in the environment is the password of encrypted files. Exit codes are those of snowmelt.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file (default: snowmelt.toml here)")
    parser.add_argument("--table", metavar="NAME", action="append", default=[], help="only this table; may be repeated")
    parser.add_argument("--json", action="store_true", help="the report as JSON on stdout")
    return parser


def _picked(tables: Sequence[dict[str, Any]], wanted: Sequence[str]) -> list[dict[str, Any]]:
    """By name, source, target or their last part, without regard to case."""

    def is_called(table: dict[str, Any], name: str) -> bool:
        texts = [str(table[key]).lower() for key in ("name", "source", "target") if key in table]
        return any(name.lower() in (text, text.rpartition(".")[2]) for text in texts)

    for name in wanted:
        if not any(is_called(table, name) for table in tables):
            raise UsageError(
                f"no [[table]] of the configuration is called {name}",
                code="usage.unknown_table",
                hint="--table takes a table's source, target or name",
            )
    return [table for table in tables if not wanted or any(is_called(table, name) for name in wanted)]


def _text(error: Error) -> str:
    return f"{error.code}\n  {error}"


def _do_tables(script: Script, options: argparse.Namespace, report: dict[str, Any]) -> None:
    config = load_config(options.config)
    tables = _picked(config["tables"], options.table)
    if not tables:
        raise ConfigurationError(
            "the configuration names no table",
            code="config.no_tables",
            hint='add a [[table]] with source = "DB.SCHEMA.TABLE" to snowmelt.toml',
        )
    password = os.environ.get("SNOWMELT_PASSWORD") or None
    settings = {key: value for key, value in config["export"].items() if key != "directory"}
    with script.manager(config_file=options.config) as manager:
        manager.get_connection()
        if not options.json:
            print(script.greet(manager), flush=True)
        for table in tables:
            one = script.work([table], password, config["directory"], manager, **settings)
            report.update(run_id=report.get("run_id", one["run_id"]), logins=one["logins"])
            failure = one.get("error")
            for done in one["tables"]:
                report["tables"].append(done)
                failure = done.get("error", failure)
                if done["status"] == "ok" and not options.json:
                    print(script.told(done), flush=True)
            if failure:
                print(f"error: {table['name']}: {failure['message']}", file=sys.stderr, flush=True)
                report.setdefault("code", failure["exit_code"])
                if failure["exit_code"] in (AuthenticationError.exit_code, Interrupted.exit_code):
                    break  # no other table can succeed, and trying could lock the account


def run(script: Script, arguments: Sequence[str] | None = None) -> int:
    options = _parser(script).parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(_AsTheCommandLine())
    logging.basicConfig(handlers=[handler])
    started = time.monotonic()
    report: dict[str, Any] = {"tables": []}
    try:
        _do_tables(script, options, report)
    except Error as error:
        print(f"error: {_text(error)}", file=sys.stderr, flush=True)
        report.update(code=error.exit_code)
        report["error"] = {"exit_code": error.exit_code, "kind": error.kind, "code": error.code, "message": _text(error)}
    except KeyboardInterrupt:
        report.update(code=Interrupted.exit_code)
    code = int(report.pop("code", 0))
    report["status"] = {0: "ok", Interrupted.exit_code: "interrupted"}.get(code, "failed")
    report["seconds"] = time.monotonic() - started
    if options.json:
        print(json.dumps(report, indent=2), flush=True)
    return code
