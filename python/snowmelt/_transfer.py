"""Extractor, loader, and whole tables."""

from __future__ import annotations

import contextlib
import json
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from . import _snowmelt
from ._config import keys, table_keys
from ._connections import (
    PostgresConnectionManager,
    SnowflakeConnectionManager,
    engine_manager,
    forget_unread,
    tell_of_a_stopped_export,
)
from ._log import logger
from .errors import UsageError

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class TableSize:
    """What metadata says of a table; None where the role may not look or the object has none (a view)."""

    rows: int | None
    bytes: int | None


@dataclass(frozen=True)
class TableReport:
    """What was done with one table."""

    source: str
    target: str
    rows: int
    bytes: int
    parts: int


def _password(password: str | None) -> str | None:
    if password is not None and not isinstance(password, str):
        raise TypeError(f"a password is text or None, not {type(password).__name__}")
    if password == "":
        raise UsageError("the password is empty", code="export.empty_password", hint="give None for plain files")
    return password


class _Export:
    """An export of whose parts nobody has asked one yet is in its manager's list of those; see close() there."""

    def __init__(self, handle: _snowmelt.ExtractionHandle, unread: list[Any]) -> None:
        self._handle: _snowmelt.ExtractionHandle | None = handle
        self._unread = unread
        self.reader: weakref.ref[TableChunks] | None = None
        unread.append(self)

    def is_unread(self) -> bool:
        return self in self._unread

    def next(self) -> Path | None:
        if self.is_unread():
            self._unread.remove(self)
        part = None if self._handle is None else self._handle.next()
        if part is None:
            self._handle = None
        return part

    def close(self) -> None:
        if self.is_unread():
            self._unread.remove(self)
        if self._handle is not None:
            self._handle.close()
            self._handle = None


class TableChunks(Iterator[Path]):
    """The parts of an export under way, as they close, in the order of finishing.

    The export is complete (its manifest is written) when the iteration ends. Leaving it half-way stops the export, and nothing of
    it counts. Where nobody keeps this object, the export itself is wanted: closing the connection manager it runs on, or leaving
    its ``with``, finishes it.
    """

    def __init__(self, export: _Export) -> None:
        self._export = export
        self._begun = False
        export.reader = weakref.ref(self)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Path:
        self._begun = True
        if (part := self._export.next()) is None:
            raise StopIteration
        return part

    def close(self) -> None:
        """Stops what is still under way."""
        self._begun = True
        self._export.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # In its manager's list it will be finished; without a manager nobody can do that, and a destructor runs no export.
        if not getattr(self, "_begun", True) and not self._export.is_unread():
            tell_of_a_stopped_export()


class _Worker:
    """An extractor or loader: with the caller's manager, or one of its own that it closes."""

    _own_manager: Any = None

    def _take(self, manager: object | None, make: type) -> None:
        if manager is None:
            logger.warning("%s", _snowmelt.NO_MANAGER_WARNING)
            manager = self._own_manager = make(autocommit=True) if make is PostgresConnectionManager else make()
        self.conn_manager = manager
        self._engine = engine_manager(manager, type(self).__name__)
        # A manager of the user's own class does not finish exports; they live with this object then.
        self._unread: list[Any] = getattr(manager, "_unread", [])

    def close(self) -> None:
        """Closes the manager this object made for itself; a caller's manager stays open."""
        if self._own_manager is not None:
            self._own_manager.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            if self._own_manager is not None or not hasattr(self.conn_manager, "_unread"):
                forget_unread(self._unread)
            self.close()


class SnowflakeDataExtractor(_Worker):
    """Snowflake tables to Parquet files.

    >>> with SnowflakeConnectionManager() as conn_mgr:
    ...     extractor = SnowflakeDataExtractor(conn_mgr)
    ...     for part in extractor.extract_table_chunks("SALES.PUBLIC.ORDERS", directory="export"):
    ...         print(part)

    `conn_manager` is any object with get_connection and close. Without one the extractor makes its own, with a warning.
    """

    def __init__(self, conn_manager: object | None = None) -> None:
        self._take(conn_manager, SnowflakeConnectionManager)

    def estimate_table_size(self, source: str) -> TableSize:
        """Rows and bytes from metadata, never by a scan."""
        return TableSize(*_snowmelt.estimate(self._engine, source))

    def extract_table_chunks(
        self,
        source: str | Mapping[str, Any],
        directory: StrPath = "export",
        password: str | None = None,
        **settings: Any,
    ) -> TableChunks:
        """Starts the export to <directory>/<source>/ and gives its parts as they close.

        `source` is a table's name, or a dict with the keys of [[table]]. `password` encrypts the files. ``settings`` are keys of
        [export]: part_size, threads, …; they lie over snowmelt.toml.
        """
        options = keys("export", {**settings, "directory": directory})
        handle = _snowmelt.extract(self._engine, table_keys(source), options, _password(password))
        return TableChunks(_Export(handle, self._unread))


class PostgreSQLDataLoader(_Worker):
    """Parquet files into PostgreSQL.

    >>> with PostgresConnectionManager() as conn_mgr:
    ...     loader = PostgreSQLDataLoader(conn_mgr)
    ...     rows = loader.load_parquet_to_table("export/SALES.PUBLIC.ORDERS", "public.orders", mode="replace")
    ...     conn_mgr.commit()

    Without a manager the loader makes its own, with a warning, and commits each load.
    """

    def __init__(self, conn_manager: object | None = None) -> None:
        self._take(conn_manager, PostgresConnectionManager)

    def load_parquet_to_table(
        self,
        path: StrPath,
        target: str,
        mode: str = "create",
        password: str | None = None,
        *,
        integers: str = "bigint",
        **choices: Any,
    ) -> int:
        """Loads a file or a directory of files in the manager's transaction and returns the rows. All or nothing.

        ``choices`` are keys of ``[[table]]``: rename, types, drop, on_nul, on_subsecond, on_out_of_range.
        """
        options = table_keys({"mode": mode, "integers": integers, **choices})
        return _snowmelt.load(self._engine, os.fspath(path), target, options, _password(password))


def export_table(
    table_config: str | Mapping[str, Any],
    password: str | None,
    export_base_dir: StrPath,
    conn_manager: object,
    **settings: Any,
) -> TableReport:
    """Exports one table to <export_base_dir>/<source>/.

    ``settings`` are keys of [export]: part_size, threads, …; they lie over snowmelt.toml.

    >>> export_table({"source": "SALES.PUBLIC.ORDERS"}, None, "export", conn_manager).rows
    1500000
    """
    engine = engine_manager(conn_manager, "export_table")
    options = keys("export", {**settings, "directory": export_base_dir})
    return TableReport(**_snowmelt.export_one(engine, table_keys(table_config), options, _password(password)))


def import_table(
    table_config: str | Mapping[str, Any], password: str | None, import_base_dir: StrPath, conn_manager: object
) -> TableReport:
    """Loads <import_base_dir>/<source>/ into the table's target and commits it.

    >>> import_table({"source": "SALES.PUBLIC.ORDERS", "mode": "replace"}, None, "export", conn_manager).rows
    1500000
    """
    engine = engine_manager(conn_manager, "import_table")
    return TableReport(**_snowmelt.import_one(engine, table_keys(table_config), _password(password), os.fspath(import_base_dir)))


def _run(
    exporting: bool, tables: Sequence[Any], password: str | None, options: Mapping[str, Any], conn_manager: object, jobs: int
) -> dict[str, Any]:
    engine = engine_manager(conn_manager, "export_data" if exporting else "import_data")
    configs = [table_keys(table) for table in tables]
    report = json.loads(_snowmelt.run_all(exporting, engine, configs, keys("export", options), _password(password), jobs))
    report["logins"] = conn_manager.logins if isinstance(conn_manager, SnowflakeConnectionManager) else 0
    return report


def export_data(
    tables: Sequence[str | Mapping[str, Any]],
    password: str | None,
    export_base_dir: StrPath,
    conn_manager: object,
    *,
    jobs: int = 2,
    **settings: Any,
) -> dict[str, Any]:
    """Exports every table over one login; a failed table does not stop the others. Returns the report of --json.

    ``settings`` are keys of [export]: part_size, threads, …; they lie over snowmelt.toml.
    """
    return _run(True, tables, password, {**settings, "directory": export_base_dir}, conn_manager, jobs)


def import_data(
    tables: Sequence[str | Mapping[str, Any]],
    password: str | None,
    import_base_dir: StrPath,
    conn_manager: object,
    **settings: Any,
) -> dict[str, Any]:
    """Imports every table over one connection; a failed table does not stop the others. Returns the report of --json.

    ``settings`` are keys of [export]: memory_limit, …; they lie over snowmelt.toml.
    """
    return _run(False, tables, password, {**settings, "directory": import_base_dir}, conn_manager, 1)
