"""Exports the tables of snowmelt.toml: ``python -m pipeline.export_data``. One login for all of them.

SNOWMELT_PASSWORD, where it is set, encrypts the files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from snowmelt import SnowflakeConnectionManager, export_data, export_table

from ._main import Script, run

__all__ = ["export_table", "main"]


def _greet(manager: SnowflakeConnectionManager) -> str:
    sso = " (SSO authentication complete)" if "externalbrowser" in manager.logins_by_kind else ""
    return f"✅ Connected to Snowflake{sso}"


def _told(table: dict[str, Any]) -> str:
    return f"✅ {table['source']}: {table['rows']:,} rows in {table['parts']} file{'' if table['parts'] == 1 else 's'}"


SCRIPT = Script(
    module="export_data",
    description="Exports the tables of snowmelt.toml from Snowflake to Parquet files, with one login.",
    manager=SnowflakeConnectionManager,
    greet=_greet,
    work=export_data,
    told=_told,
)


def main(arguments: Sequence[str] | None = None) -> int:
    return run(SCRIPT, arguments)


if __name__ == "__main__":
    sys.exit(main())
