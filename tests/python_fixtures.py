"""What the Python package's tests share: a small Snowflake, both servers through the environment, counters of the server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from snowmelt_sandbox.postgres import PrivatePostgres
from snowmelt_sandbox.testing import Sandbox

ORDERS = 25_000
ITEMS = 7


@dataclass
class Sales:
    """The sandbox with SALES.PUBLIC.ORDERS and ITEMS, and what happened on it since `mark()`."""

    sandbox: Sandbox
    logins_before: int = 0

    @property
    def keys(self) -> dict:
        return self.sandbox.connection_keys

    def mark(self) -> None:
        self.logins_before = self.total_logins()

    def total_logins(self) -> int:
        return sum(self.sandbox.stats()["logins"].values())

    @property
    def logins(self) -> int:
        return self.total_logins() - self.logins_before

    @property
    def sessions_open(self) -> int:
        return self.sandbox.stats()["sessions_open"]


@pytest.fixture(scope="session")
def sales_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    data = tmp_path_factory.mktemp("sales")
    (data / "SALES" / "PUBLIC").mkdir(parents=True)
    orders = {"O_ID": pa.array(range(ORDERS), pa.int64()), "O_NAME": [f"order {i}" for i in range(ORDERS)]}
    pq.write_table(pa.table(orders), data / "SALES" / "PUBLIC" / "ORDERS.parquet")
    pq.write_table(pa.table({"I_ID": pa.array(range(ITEMS), pa.int64())}), data / "SALES" / "PUBLIC" / "ITEMS.parquet")
    with Sandbox("--data", data, "--chunk-max-rows", 4_000) as server:
        yield server


@pytest.fixture
def sales(sales_server: Sandbox) -> Iterator[Sales]:
    """No session of an earlier test is left at the start, none at the end."""
    server = Sales(sales_server)
    server.mark()
    assert server.sessions_open == 0
    yield server
    sales_server.clear_faults()


@pytest.fixture
def configured(
    sales: Sales, postgres: PrivatePostgres, database: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty working directory; both servers are named by the environment alone."""
    for key, value in sales.keys.items():
        monkeypatch.setenv(f"SNOWFLAKE_{key.upper()}", str(value))
    for name, value in postgres.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    logging.getLogger("snowmelt").setLevel(logging.NOTSET)
    return tmp_path
