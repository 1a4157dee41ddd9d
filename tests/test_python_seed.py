"""Every Python block of the mission's document, extracted from the file itself and run as it stands.

Only literal `...` arguments and the name `table` in SQL are filled in; free names are real objects. Each block has an effect
that is checked on the servers. The document is not part of the project: without it these tests are skipped.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pipeline
import psycopg
import pytest
from pipeline.connections import PostgresConnectionManager, SnowflakeConnectionManager
from program import ROOT
from python_fixtures import ITEMS, ORDERS, Sales

import snowmelt

SEED = Path(os.environ.get("SNOWMELT_SEED") or ROOT.parent / "shared" / "seed.md")
WARNING = re.compile(r"WARNING: (No connection manager provided.*?performance\.)", re.DOTALL)

pytestmark = pytest.mark.skipif(not SEED.exists(), reason=f"{SEED} is not here; docs/connections.md has the same calls")


@dataclass
class Block:
    heading: str
    line: int  # of its first line of code
    code: str
    ran: bool = False


def read_blocks() -> list[Block]:
    """Fenced Python blocks; those of the Lifecycle section are one program, told in pieces."""
    blocks: list[Block] = []
    headings: dict[int, str] = {}
    lines = SEED.read_text().splitlines()
    start = None
    for number, line in enumerate(lines):
        if start is None and (match := re.match(r"(#+) (.*)", line)):
            level = len(match[1])
            headings = {k: v for k, v in headings.items() if k < level} | {level: match[2].strip("* ")}
        elif start is None and line.strip() == "```python":
            start = number + 1
        elif start is not None and line.strip() == "```":
            heading = " / ".join(headings[level] for level in sorted(headings) if level > 1)
            if heading.startswith("Connection Lifecycle / "):
                heading = "Connection Lifecycle"
            code = "\n".join(lines[start:number])
            if blocks and blocks[-1].heading == heading == "Connection Lifecycle":
                blocks[-1].code += "\n" + code
            else:
                same = sum(b.heading.partition(" #")[0] == heading for b in blocks)
                blocks.append(Block(f"{heading} #{same + 1}" if heading != "Connection Lifecycle" else heading, start + 1, code))
            start = None
    return blocks


BLOCKS = read_blocks() if SEED.exists() else []


def filled(code: str) -> str:
    code = textwrap.dedent(code)
    code = code.replace("FROM table", "FROM SALES.PUBLIC.ORDERS")
    code = code.replace("estimate_table_size(...)", 'estimate_table_size("SALES.PUBLIC.ORDERS")')
    code = code.replace("extract_table_chunks(...)", 'extract_table_chunks("SALES.PUBLIC.ORDERS")')
    code = code.replace(
        "load_parquet_to_table(...)", 'load_parquet_to_table("ready/SALES.PUBLIC.ORDERS", "public.orders", mode="replace")'
    )
    assert "(...)" not in code
    return code


@dataclass
class World:
    """What a block runs in, and what can be asked afterwards."""

    sales: Sales
    database: psycopg.Connection
    directory: Path
    caplog: pytest.LogCaptureFixture
    output: str = ""
    names: dict[str, Any] = field(default_factory=dict)
    # Line of the block → what happens before it is run.
    before_line: dict[str, Callable[[], None]] = field(default_factory=dict)

    def run(self, block: Block) -> None:
        code = filled(block.code)
        lines = code.splitlines()
        name = f"{SEED.name}:{block.line}"
        block.ran = True

        def trace(frame: Any, event: str, _: Any) -> Any:
            if frame.f_code.co_filename != name:
                return None
            if event == "line":
                for text, action in list(self.before_line.items()):
                    if text in lines[frame.f_lineno - 1]:
                        del self.before_line[text]
                        action()
            return trace

        sys.settrace(trace)
        try:
            exec(compile(code, name, "exec"), self.names)  # the point of this test
        finally:
            sys.settrace(None)

    def forget(self) -> None:
        """The block's variables go, as at the end of a script."""
        self.names.clear()
        gc.collect()

    def exported(self, table: str = "SALES.PUBLIC.ORDERS", directory: str = "export") -> int:
        files = self.directory / directory / table
        assert (files / "manifest.json").exists()
        return duckdb.sql(f"select count(*) from '{files}/*.parquet'").fetchall()[0][0]

    def loaded(self, table: str) -> int:
        return self.database.execute(f"select count(*) from {table}").fetchall()[0][0]

    def warnings(self) -> int:
        return sum(r.getMessage() == self.warning for r in self.caplog.records if r.levelno == logging.WARNING)

    @property
    def warning(self) -> str:
        """As the document quotes it."""
        return WARNING.search(SEED.read_text())[1]


@pytest.fixture
def world(
    configured: Path, sales: Sales, database: psycopg.Connection, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> World:
    caplog.set_level(logging.INFO)
    block: Block = request.node.callspec.params["block"]
    made = World(sales, database, configured, caplog)
    made.names = {
        "SnowflakeConnectionManager": SnowflakeConnectionManager,
        "PostgresConnectionManager": PostgresConnectionManager,
        "SnowflakeDataExtractor": pipeline.SnowflakeDataExtractor,
        "PostgreSQLDataLoader": pipeline.PostgreSQLDataLoader,
        "export_table": pipeline.export_table,
        "import_table": pipeline.import_table,
        "tables": [{"source": "SALES.PUBLIC.ORDERS"}, {"source": "SALES.PUBLIC.ITEMS"}],
        "password": "of the files",
        "export_base_dir": configured / "export",
        "import_base_dir": configured / "ready",
        "logger": logging.getLogger("script"),
        "MockConnection": MockConnection,
    }
    if "load_parquet_to_table" in block.code or "import_table" in block.code:
        with SnowflakeConnectionManager() as manager:
            for table in made.names["tables"]:
                pipeline.export_table(table, made.names["password"] if "import_table" in block.code else None, "ready", manager)
        sales.mark()
    return made


class MockConnection:
    """Rows without a server: DuckDB under DB-API 2.0."""

    def cursor(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        connection.execute("attach ':memory:' as SALES; create schema SALES.PUBLIC")
        connection.execute("create table SALES.PUBLIC.ORDERS as select range as O_ID from range(12)")
        return connection


# One check a block, by its heading; `run` runs it.
CHECKS: dict[str, Callable[[World, Callable[[], None]], None]] = {}


def check(heading: str) -> Callable:
    def register(function: Callable) -> Callable:
        CHECKS[heading] = function
        return function

    return register


@check("Connection Managers / SnowflakeConnectionManager #1")
def two_scopes(world: World, run: Callable[[], None]) -> None:
    run()
    assert world.sales.logins == 2, "one a scope"
    assert world.exported() == ORDERS
    with pytest.raises(snowmelt.UsageError):
        world.names["cursor"].fetchone()


@check("Connection Managers / PostgresConnectionManager #1")
def commit_and_autocommit(world: World, run: Callable[[], None]) -> None:
    run()
    assert world.loaded("orders") == ORDERS
    assert not any("rolled back" in r.getMessage() for r in world.caplog.records)


@check("How It Works / Before (Multiple Connections) #1")
@check("Migration Guide / Backward Compatibility #1")
@check("Migration Guide / Updating Existing Code #1")
def without_a_manager(world: World, run: Callable[[], None]) -> None:
    run()
    assert world.warnings() == 1, "once an extractor"
    assert world.sales.logins == 1
    assert world.sales.sessions_open == 1
    if (world.directory / "export").exists():
        world.names["extractor"].close()  # as the program's end does: nobody has asked for a part
        assert world.exported() == ORDERS
    world.forget()


@check("How It Works / After (Single Connection) #1")
@check("Best Practices / 2. Reuse Connection Managers #1")
def one_login(world: World, run: Callable[[], None]) -> None:
    run()
    assert world.sales.logins == 1
    assert world.exported() == ORDERS
    assert world.warnings() == 0


@check("Script Integration / Export Script (export_data.py) #1")
def export_script(world: World, run: Callable[[], None]) -> None:
    run()
    assert "✅ Connected to Snowflake (SSO authentication complete)\n" in world.output
    assert world.sales.logins == 1
    for table in ("ORDERS", "ITEMS"):
        parts = list((world.directory / "export" / f"SALES.PUBLIC.{table}").glob("*.parquet"))
        assert parts and all(p.read_bytes().startswith(b"PARE") for p in parts), "encrypted"


@check("Script Integration / Import Script (import_data.py) #1")
def import_script(world: World, run: Callable[[], None]) -> None:
    run()
    assert (world.loaded("orders"), world.loaded("items")) == (ORDERS, ITEMS)
    assert world.sales.logins == 0


@check("Connection Lifecycle")
def lifecycle(world: World, run: Callable[[], None]) -> None:
    seen = []
    world.before_line["# Returns existing connection"] = lambda: seen.append(world.names["conn"])
    world.before_line["if not conn_mgr.is_alive()"] = lambda: (
        seen.append(world.names["conn"]),
        world.sales.sandbox.kill_sessions(),
    )
    run()
    assert seen[0] is seen[1], "reused"
    assert world.names["conn"] is not seen[0], "reconnected"
    assert world.sales.logins == 2


@check("Error Handling / Connection Failures #1")
def failures(world: World, run: Callable[[], None]) -> None:
    run()
    assert not world.caplog.records
    os.environ["SNOWFLAKE_PORT"] = "eighty"
    run()
    assert [r.levelname for r in world.caplog.records] == ["ERROR"]
    assert world.caplog.messages[0].startswith("Operation failed: ") and "SNOWFLAKE_PORT" in world.caplog.messages[0]


@check("Error Handling / Automatic Reconnection #1")
def reconnection(world: World, run: Callable[[], None]) -> None:
    def lose() -> None:
        world.sales.sandbox.kill_sessions()
        with pytest.raises(snowmelt.ConnectionError), world.names["conn"].cursor() as cursor:
            cursor.execute("select 1")

    world.before_line["# Checks health"] = lose
    run()
    assert world.sales.logins == 2


@check("Testing / Mock Connection Manager #1")
def mock(world: World, run: Callable[[], None]) -> None:
    run()
    parts = list(world.names["extractor"].extract_table_chunks("SALES.PUBLIC.ORDERS"))
    assert parts and world.exported() == 12
    assert world.sales.logins == 0 and world.warnings() == 0


@check("Best Practices / 1. Always Use Context Managers #1")
def nothing_done(world: World, run: Callable[[], None]) -> None:
    run()
    assert world.sales.logins == 0, "nobody asked for a connection"
    assert world.names["conn_mgr"].closed


@check("Best Practices / 1. Always Use Context Managers #2")
def closed_by_hand(world: World, run: Callable[[], None]) -> None:
    run()
    assert world.sales.logins == 1
    assert world.names["conn"].closed


@check("Best Practices / 2. Reuse Connection Managers #2")
def two_extractors(world: World, run: Callable[[], None]) -> None:
    run()
    assert world.warnings() == 2
    for name in ("extractor1", "extractor2"):
        world.names[name].estimate_table_size("SALES.PUBLIC.ORDERS")
    assert world.sales.logins == 2
    world.forget()


@check("Best Practices / 3. Pass Connection Managers to Functions #1")
def passed_on(world: World, run: Callable[[], None]) -> None:
    world.names["tables"] = ["SALES.PUBLIC.ORDERS", "SALES.PUBLIC.ITEMS"]
    run()
    assert world.warnings() == 0
    assert world.names["conn_mgr"].closed


@check("Best Practices / 3. Pass Connection Managers to Functions #2")
def not_passed_on(world: World, run: Callable[[], None]) -> None:
    run()
    assert world.warnings() == 2, "one a table"


@check("Migration Guide / Updating Existing Code #2")
def migrated(world: World, run: Callable[[], None]) -> None:
    run()
    assert (world.sales.logins, world.warnings()) == (1, 0)


@pytest.mark.parametrize("block", BLOCKS, ids=[b.heading for b in BLOCKS])
def test_block(block: Block, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        world.run(block)
        world.output += capsys.readouterr().out

    CHECKS[block.heading](world, run)
    assert block.ran
    world.forget()
    assert world.sales.sessions_open == 0, "every session is closed on the server"


def test_every_block_is_here() -> None:
    assert len(BLOCKS) + 3 == SEED.read_text().count("```python"), "the Lifecycle section's four pieces are one program"
    assert {b.heading for b in BLOCKS} == set(CHECKS)
