"""Imports what export_data exported into PostgreSQL: ``python -m pipeline.import_data``. One connection for all tables.

SNOWMELT_PASSWORD is needed where the files are encrypted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from snowmelt import PostgresConnectionManager, import_data, import_table

from ._main import Script, run

__all__ = ["import_table", "main"]

SCRIPT = Script(
    module="import_data",
    description="Imports the exported tables of snowmelt.toml into PostgreSQL, over one connection; no login to Snowflake.",
    manager=PostgresConnectionManager,
    greet=lambda _: "✅ Connected to PostgreSQL",
    work=import_data,
    told=lambda table: f"✅ {table['target']}: {table['rows']:,} rows",
)


def main(arguments: Sequence[str] | None = None) -> int:
    return run(SCRIPT, arguments)


if __name__ == "__main__":
    sys.exit(main())
