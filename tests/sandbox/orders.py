"""The large table of the data directory, and the official Python driver over a sandbox.

Not in conftest.py: with a conftest.py in the folder above, that name says nothing to an import.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import snowflake.connector
from snowmelt_sandbox.testing import Sandbox

ROWS = 50_000


def orders_table() -> pa.Table:
    numbers = np.arange(ROWS)
    return pa.table(
        {
            "o_key": pa.array(numbers, pa.int64()),
            "o_small": pa.array(numbers % 100, pa.int32()),
            "o_price": pa.array([Decimal(int(n)) / 100 - 10 for n in numbers], pa.decimal128(15, 2)),
            "o_date": pa.array((numbers % 4000).astype(np.int32)).cast(pa.date32()),
            "o_text": pa.array([None if n % 7 == 0 else f"row {n} é" for n in numbers]),
            "o_at": pa.array(numbers * 1_000_003, pa.timestamp("us")),
        }
    )


def connect(sandbox: Sandbox, **options: Any) -> snowflake.connector.SnowflakeConnection:
    """snowflake-connector-python over this sandbox."""
    chosen = {
        "user": "SNOWMELT", "password": "snowmelt", "account": "sandbox", "host": sandbox.host, "port": sandbox.port,
        "protocol": "http", "database": "SHOP", "schema": "PUBLIC",
        "session_parameters": {"CLIENT_TELEMETRY_ENABLED": False},
    }  # fmt: skip
    return snowflake.connector.connect(**{**chosen, **options})
