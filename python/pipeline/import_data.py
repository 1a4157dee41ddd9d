"""Imports what export_data exported into PostgreSQL: ``python -m pipeline.import_data``. One connection for all tables.

SNOWMELT_PASSWORD is needed where the files are encrypted.
"""

from __future__ import annotations

import logging
import os
import sys

from snowmelt import Error, PostgresConnectionManager, import_table, load_config

logger = logging.getLogger(__name__)

__all__ = ["import_table", "main"]


def main() -> int:
    logging.basicConfig(format="%(levelname)s: %(message)s")
    password = os.environ.get("SNOWMELT_PASSWORD") or None
    code = 0
    try:
        config = load_config()
        tables, import_base_dir = config["tables"], config["directory"]
        # Single PostgreSQL connection for all tables
        with PostgresConnectionManager() as conn_manager:
            for table_config in tables:
                try:
                    report = import_table(table_config, password, import_base_dir, conn_manager)
                    print(f"✅ {report.target}: {report.rows:,} rows", flush=True)
                except Error as e:
                    logger.error(f"Operation failed: {e}")
                    code = code or e.exit_code
    except Error as e:
        logger.error(f"Operation failed: {e}")
        return e.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main())
