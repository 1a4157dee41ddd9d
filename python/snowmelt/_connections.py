"""Connection managers and connections."""

from __future__ import annotations

import abc
import atexit
import contextlib
import os
import sys
import threading
import weakref
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from . import _snowmelt
from ._config import keys
from ._cursors import Cursor, PostgresCursor, SnowflakeCursor
from ._log import logger
from .errors import UsageError

_open_managers: weakref.WeakSet[_EngineManager] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    failed = hasattr(sys, "last_type")  # the program ends by an exception: it does not want its exports finished
    for manager in list(_open_managers):
        with contextlib.suppress(Exception):
            if failed:
                forget_unread(manager._unread)
            manager.close()


class BaseConnection(abc.ABC):
    """One connection of a manager; ``with`` closes its cursors' use of it, never the manager's connection itself."""

    def __init__(self, handle: _snowmelt.ConnectionHandle, manager: object) -> None:
        self._handle = handle
        self._manager = manager  # which would close the connection if it went first
        self._closed = False

    def _usable(self) -> _snowmelt.ConnectionHandle:
        if self._closed:
            raise UsageError(
                "the connection is closed", code="connection.closed", hint="get another one from its connection manager"
            )
        return self._handle

    @abc.abstractmethod
    def cursor(self) -> Cursor:
        """A new cursor: one for each thread."""

    @property
    def closed(self) -> bool:
        """True after close(), after the manager closed it, and once it is known to be lost."""
        return self._closed or not self._handle.is_open()

    def close(self) -> None:
        """Ends the use of this object; the manager keeps the server's connection for the next caller. Twice is allowed."""
        self._closed = True

    def commit(self) -> None:
        """Commits; on Snowflake every statement outside an explicit BEGIN is committed by itself."""
        self._usable()

    def rollback(self) -> None:
        """Rolls back what is not committed."""
        self._usable()

    def __enter__(self) -> Self:
        self._usable()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<snowmelt.{type(self).__name__} {'closed' if self.closed else 'open'}>"


class SnowflakeConnection(BaseConnection):
    """A Snowflake session.

    >>> cursor = conn_mgr.get_connection().cursor()
    >>> cursor.execute("select * from SALES.PUBLIC.ORDERS where O_ORDERKEY < ?", [100])
    >>> frame = cursor.fetch_arrow_table().to_pandas()
    """

    def cursor(self) -> SnowflakeCursor:
        return SnowflakeCursor(self)

    def commit(self) -> None:
        """Ends an explicit transaction (BEGIN); without one nothing happens."""
        with self.cursor() as cursor:
            cursor.execute("commit")

    def rollback(self) -> None:
        """Undoes an explicit transaction (BEGIN); without one nothing happens."""
        with self.cursor() as cursor:
            cursor.execute("rollback")


class PostgresConnection(BaseConnection):
    """A PostgreSQL connection; a transaction begins with the first statement unless autocommit.

    >>> cursor = conn_mgr.get_connection().cursor()
    >>> cursor.execute("select count(*) from orders where o_orderkey < $1", [100])
    >>> cursor.fetchone()
    (25,)
    """

    def cursor(self) -> PostgresCursor:
        return PostgresCursor(self)

    @property
    def in_transaction(self) -> bool:
        return self._usable().in_transaction()

    @property
    def server_version(self) -> int:
        """150018 for 15.18."""
        return self._usable().server_version()

    def commit(self) -> None:
        self._usable().commit()

    def rollback(self) -> None:
        self._usable().rollback()


C = TypeVar("C", bound=BaseConnection)


class BaseConnectionManager(abc.ABC, Generic[C]):
    """What extractors and loaders need of a manager; any object with these two methods serves, derived from this or not."""

    @abc.abstractmethod
    def get_connection(self) -> C:
        """The one connection: opened at the first call, the same object while alive, opened again when lost."""

    @abc.abstractmethod
    def close(self) -> None:
        """Ends the connection. Never raises; twice is allowed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def tell_of_a_stopped_export() -> None:
    logger.error("an export was stopped before it was complete: read its parts, or close its connection manager")


def forget_unread(unread: list[Any]) -> None:
    """The manager is going without having been closed. Who still has an export can read it; one that nobody has is stopped."""
    for export in list(unread):
        unread.remove(export)
        if export.reader() is None:
            export.close()
            tell_of_a_stopped_export()


def finish_unread(unread: list[Any]) -> None:
    """Finishes exports that nobody can read any more. Who still has one reads it after the manager's end too."""
    while unread:
        export = unread[0]
        if export.reader() is not None:
            unread.remove(export)
            continue
        while export.next() is not None:
            pass


class _EngineManager(BaseConnectionManager[C]):
    _connection_class: type[C]

    def __init__(self, handle: _snowmelt.ManagerHandle) -> None:
        _snowmelt.deliver_messages()
        self._handle = handle
        # The user's object, while the user has it; it holds this manager, and a cycle would put off the closing of both.
        self._given: weakref.ref[C] | None = None
        self._known: _snowmelt.ConnectionHandle | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._unread: list[Any] = []  # exports that were begun and of whose parts nobody has asked one
        _open_managers.add(self)

    def get_connection(self) -> C:
        """The one connection: opened at the first call, the same object while alive, opened again when lost.

        Before it is given out after half a minute's rest the server is asked whether it is still there.
        """
        known = self._known
        handle = self._handle.get_connection(known)
        with self._lock:
            if handle is not None and self._known is known:
                self._known, self._given = handle, None
            connection = self._current()
            if connection is None or connection._closed:
                connection = self._connection_class(self._known, self)
                self._given = weakref.ref(connection)
            return connection

    def _current(self) -> C | None:
        return None if self._given is None else self._given()

    def is_alive(self) -> bool:
        """Asks the server. False before the first connection, after close(), and when the connection is lost."""
        return self._handle.is_alive()

    def close(self) -> None:
        """Finishes exports that were begun and whose parts nobody can ask for any more; then closes the connection."""
        try:
            finish_unread(self._unread)
        finally:
            self._closed = True
            if (connection := self._current()) is not None:
                connection._closed = True
            self._handle.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            forget_unread(self._unread)
        self.close()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def connections_opened(self) -> int:
        """Connections opened so far; for Snowflake each one is a login."""
        return self._handle.connections_opened()

    def __enter__(self) -> Self:
        if self._closed:
            raise UsageError("the connection manager is closed", code="connection.closed", hint="make a new manager")
        return self

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            forget_unread(self._unread)
            if not self._closed and self._handle.connections_opened():
                self.close()

    def __repr__(self) -> str:
        place = "".join(f" {name}={value!r}" for name, value in sorted(self._handle.place().items()) if value)
        opened = self._known is not None and self._known.is_open()
        state = "closed" if self._closed else "connected" if opened else "not connected"
        return f"<snowmelt.{type(self).__name__}{place} {state}>"


class SnowflakeConnectionManager(_EngineManager[SnowflakeConnection]):
    """One Snowflake login for everything inside its scope.

    Keys are those of the section [snowflake]. Without any, settings come from snowmelt.toml and SNOWFLAKE_* variables; single
    keys lie over those; with ``account`` the keys given stand alone. `config_file` is read instead of snowmelt.toml.

    >>> with SnowflakeConnectionManager(account="myorg-acct", user="ana@example.com", password=password) as conn_mgr:
    ...     cursor = conn_mgr.get_connection().cursor()
    ...     cursor.execute("select current_version()")
    """

    _connection_class = SnowflakeConnection

    def __init__(
        self,
        *,
        session_parameters: dict[str, Any] | None = None,
        config_file: str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> None:
        given = keys("snowflake", {**settings, "session_parameters": session_parameters})
        super().__init__(_snowmelt.snowflake_manager(given, config_file))

    @property
    def logins(self) -> int:
        """Logins so far."""
        return self._handle.connections_opened()

    @property
    def logins_by_kind(self) -> dict[str, int]:
        """``{"externalbrowser": 1}``"""
        return self._handle.logins_by_kind()


class PostgresConnectionManager(_EngineManager[PostgresConnection]):
    """One PostgreSQL connection with transactions.

    Keys are those of the section [postgres]: ``uri``, ``service``, or ``host``, ``dbname``, …, and ``autocommit``. Without any,
    settings come from snowmelt.toml (or `config_file`), PG* variables and .pgpass. What is not committed when the scope ends is
    rolled back.

    >>> with PostgresConnectionManager(uri="postgresql://localhost/app") as conn_mgr:
    ...     loader = PostgreSQLDataLoader(conn_mgr)
    ...     loader.load_parquet_to_table("export/SALES.PUBLIC.ORDERS", "public.orders")
    ...     conn_mgr.commit()
    """

    _connection_class = PostgresConnection

    def __init__(
        self, *, autocommit: bool | None = None, config_file: str | os.PathLike[str] | None = None, **settings: Any
    ) -> None:
        super().__init__(_snowmelt.postgres_manager(keys("postgres", {**settings, "autocommit": autocommit}), config_file))

    @property
    def autocommit(self) -> bool:
        return self._handle.autocommit()

    def commit(self) -> None:
        """Commits the current connection's transaction; without one nothing happens."""
        self._handle.commit()

    def rollback(self) -> None:
        self._handle.rollback()


def engine_manager(manager: object, needed_by: str) -> object:
    """Our own managers go to the engine as they are; any other object is asked for connections through Python."""
    if isinstance(manager, _EngineManager) and type(manager).get_connection is _EngineManager.get_connection:
        return manager._handle
    if not callable(getattr(manager, "get_connection", None)):
        raise TypeError(f"{needed_by} needs a connection manager (an object with get_connection), not {type(manager).__name__}")
    return manager
