"""Exports the tables of snowmelt.toml: ``python -m pipeline.export_data``. One login for all of them.

SNOWMELT_PASSWORD, where it is set, encrypts the files.
"""

from __future__ import annotations

import logging
import os
import sys

from snowmelt import Error, SnowflakeConnectionManager, export_table, load_config

logger = logging.getLogger(__name__)

__all__ = ["export_table", "main"]


def main() -> int:
    logging.basicConfig(format="%(levelname)s: %(message)s")
    password = os.environ.get("SNOWMELT_PASSWORD") or None
    code = 0
    try:
        config = load_config()
        tables, export_base_dir = config["tables"], config["directory"]
        # Single SSO authentication for all tables
        with SnowflakeConnectionManager() as conn_manager:
            conn_manager.get_connection()
            print("✅ Connected to Snowflake (SSO authentication complete)", flush=True)
            for table_config in tables:
                try:
                    report = export_table(table_config, password, export_base_dir, conn_manager)
                    print(f"✅ {report.source}: {report.rows:,} rows in {report.parts} files", flush=True)
                except Error as e:
                    logger.error(f"Operation failed: {e}")
                    code = code or e.exit_code
    except Error as e:
        logger.error(f"Operation failed: {e}")
        return e.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main())
