"""A data directory with a large table and one table of every type, and sandboxes over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from orders import orders_table
from raw_client import RawClient
from snowmelt_sandbox.testing import Sandbox
from typed_table import typed_table


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sandbox-data")
    folder = root / "shop" / "public"
    folder.mkdir(parents=True)
    keyed = orders_table().replace_schema_metadata({"snowflake.primary_key": "O_KEY", "snowflake.comment": "all orders"})
    pq.write_table(keyed, folder / "orders.parquet", row_group_size=20_000)
    pq.write_table(typed_table(), folder / "typed.parquet")
    pq.write_table(orders_table().slice(0, 0), folder / "empty.parquet")
    return root


@pytest.fixture(scope="session")
def sandbox(data: Path) -> Iterator[Sandbox]:
    """Shared by tests that leave no trace; small chunks, so that 50,000 rows make many."""
    with Sandbox("--data", data, "--inline-bytes", 20_000, "--chunk-max-rows", 10_000) as server:
        yield server


@pytest.fixture
def client(sandbox: Sandbox) -> RawClient:
    client = RawClient(sandbox)
    assert client.login("databaseName=SHOP&schemaName=PUBLIC")["success"]
    return client
