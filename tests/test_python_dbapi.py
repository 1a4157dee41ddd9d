"""PyPI's dbapi-compliance suite over both cursors; the exceptions are those of docs/connections.md."""

from __future__ import annotations

import itertools
import re
from types import SimpleNamespace
from typing import Any

import pytest

import snowmelt

dbapi20 = pytest.importorskip("dbapi20", reason="dbapi-compliance is not installed")

ERRORS = (
    "Warning", "Error", "InterfaceError", "DatabaseError", "OperationalError", "IntegrityError", "InternalError",
    "ProgrammingError", "NotSupportedError",
)  # fmt: skip


class Cursor:
    """The suite writes ?; PostgreSQL's marks are $1, $2, …"""

    def __init__(self, cursor: snowmelt.Cursor) -> None:
        self.__dict__["cursor"] = cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cursor, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.cursor, name, value)

    def _marked(self, sql: str) -> str:
        if isinstance(self.cursor, snowmelt.PostgresCursor):
            number = itertools.count(1)
            return re.sub(r"'[^']*'|(\?)", lambda m: f"${next(number)}" if m[1] else m[0], sql)
        return sql

    def execute(self, sql: str, *arguments: Any) -> Any:
        return self.cursor.execute(self._marked(sql), *arguments)

    def executemany(self, sql: str, rows: Any) -> Any:
        return self.cursor.executemany(self._marked(sql), rows)


class Connection:
    """What connect() would give: the manager and its connection as one."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager
        self.connection = manager.get_connection()
        for name in ERRORS:
            setattr(self, name, getattr(snowmelt, name))

    def cursor(self) -> Cursor:
        return Cursor(self.connection.cursor())

    def commit(self) -> None:
        self.connection.commit()

    def rollback(self) -> None:
        self.connection.rollback()

    def close(self) -> None:
        if self.manager.closed:
            raise snowmelt.ProgrammingError("closed already")
        self.manager.close()


def driver(make: Any) -> SimpleNamespace:
    names = {name: getattr(snowmelt, name) for name in snowmelt.__all__}
    return SimpleNamespace(**names, connect=lambda: Connection(make()))


@pytest.mark.usefixtures("configured")
class Suite(dbapi20.DatabaseAPI20Test):
    __test__ = False
    connect_args = ()
    connect_kw_args: dict[str, Any] = {}
    drop = "drop table if exists {}"

    def tearDown(self) -> None:
        connection = self._connect()
        for table in ("booze", "barflys"):
            connection.cursor().execute(self.drop.format(f"{self.table_prefix}{table}"))
        connection.commit()
        connection.close()

    def test_nextset(self) -> None:
        cursor = self._connect().cursor()
        assert not hasattr(cursor, "nextset") and not hasattr(cursor, "callproc")

    def test_setoutputsize(self) -> None:
        self._connect().cursor().setoutputsize(10)


class TestPostgres(Suite):
    __test__ = True
    driver = driver(snowmelt.PostgresConnectionManager)


class TestSnowflake(Suite):
    __test__ = True
    driver = driver(lambda: snowmelt.SnowflakeConnectionManager(database="SALES", schema="PUBLIC"))

    # They insist that a statement without a query has nothing to fetch.
    test_fetchone = test_fetchall = None

    def test_rowcount(self) -> None:
        """Snowflake answers DDL with a row of text, and says so in rowcount and description."""
        cursor = self._connect().cursor()
        assert cursor.rowcount == -1
        self.executeDDL1(cursor)
        assert cursor.rowcount == 1
        cursor.execute(f"insert into {self.table_prefix}booze values ('Victoria Bitter')")
        assert cursor.rowcount == 1
        assert cursor.execute(f"select name from {self.table_prefix}booze").rowcount == 1

    def test_description(self) -> None:
        cursor = self._connect().cursor()
        assert cursor.description is None
        self.executeDDL1(cursor)
        cursor.execute(f"select name from {self.table_prefix}booze")
        ((name, kind, *_rest),) = cursor.description
        assert name.lower() == "name" and kind == snowmelt.STRING and len(_rest) == 5


del Suite
