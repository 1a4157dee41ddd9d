"""fakesnow as the SQL engine: databases of the directory as views, metadata that tells the truth about them."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
from fakesnow import transforms
from fakesnow.converter import from_binding
from fakesnow.fakes import FakeSnowflakeConnection
from fakesnow.instance import FakeSnow
from fakesnow.transforms import stage

from snowmelt_sandbox.tables import Directory, DirectoryTable

logger = logging.getLogger("snowmelt_sandbox")
# DuckDB warns that its DB-API result is copied; fakesnow reads results so.
warnings.filterwarnings("ignore", message="Arrow output on a DB-API result", category=UserWarning)

# fakesnow sums everything as DOUBLE, so that text adds up; exact sums of NUMBER are what people compare tables by.
transforms.numeric_agg_implicit_cast = lambda expression: expression
# fakesnow makes a directory for stages when it is imported and never removes it; nothing here uses stages.
with contextlib.suppress(OSError):
    Path(stage.LOCAL_BUCKET_PATH).rmdir()

_META = "_fs_global._fs_information_schema"
_KEPT_RESULTS = 64
_KEPT_ROWS = 100_000


class _BoundedResults(dict[str, tuple]):
    """fakesnow keeps every result for RESULT_SCAN and never forgets one; this keeps the last small ones."""

    def __setitem__(self, key: str, value: tuple) -> None:
        if value[0] is not None and value[0].num_rows > _KEPT_ROWS:
            return
        super().__setitem__(key, value)
        while len(self) > _KEPT_RESULTS:
            del self[next(iter(self))]


class Engine:
    """One emulator for the whole process; each running statement has a connection to itself."""

    def __init__(self, directory: Directory) -> None:
        self._fakesnow = FakeSnow()
        self._fakesnow.results_cache = _BoundedResults()
        self._directory = directory
        self._connecting = threading.Lock()
        self._register()

    def connect(self, database: str | None, schema: str | None, create: bool) -> FakeSnowflakeConnection:
        with self._connecting:
            self._fakesnow.create_database_on_connect = create
            self._fakesnow.create_schema_on_connect = create
            return self._fakesnow.connect(database, schema)

    def has_database(self, database: str) -> bool:
        with self._fakesnow.duck_conn.cursor() as cursor:
            sql = "select 1 from duckdb_databases() where upper(database_name) = ?"
            return cursor.execute(sql, [database.upper()]).fetchone() is not None

    def run(
        self, connection: FakeSnowflakeConnection, sql: str, bindings: dict[str, Any] | None, query_id: str
    ) -> tuple[pa.Table, list[str], int]:
        """Executes one statement: the result, DuckDB's names of its column types, and the number of affected rows."""
        cursor = connection.cursor()
        affected = 0
        rows = _binding_rows(bindings)
        for row in rows:
            cursor.execute(sql, binding_params=row, server=True)
            affected += cursor.rowcount or 0
        table = cursor._arrow_table  # noqa: SLF001
        # RESULT_SCAN must find the result by the id that the client knows.
        cache = self._fakesnow.results_cache
        if cursor.sfqid in cache:
            cache[query_id] = cache.pop(cursor.sfqid)
        duck_types = [str(d[1]) for d in connection._duck_conn.description or []]  # noqa: SLF001
        return (pa.table({}) if table is None else table), duck_types, affected

    def _register(self) -> None:
        duck = self._fakesnow.duck_conn
        duck.execute(
            f"create table {_META}._sandbox_tables"
            "(table_catalog varchar, table_schema varchar, table_name varchar, n bigint, b bigint, comment varchar)"
        )
        duck.execute(
            f"create table {_META}._sandbox_columns(table_catalog varchar, table_schema varchar, table_name varchar,"
            " column_name varchar, ordinal_position integer, is_nullable varchar, data_type varchar,"
            " character_maximum_length integer, character_octet_length integer, numeric_precision integer,"
            " numeric_precision_radix integer, numeric_scale integer, comment varchar)"
        )
        for database, schema in sorted(self._directory.schemas):
            try:
                self.connect(database, schema, create=True).close()
            except Exception as error:
                logger.warning("%s.%s is served by plain reads only: %s", database, schema, error)
        for table in self._directory:
            self._register_table(table)
        self._describe_directory()

    def _register_table(self, table: DirectoryTable) -> None:
        duck = self._fakesnow.duck_conn
        where = [table.database, table.schema, table.name]
        duck.execute(
            f"insert into {_META}._sandbox_tables values (?, ?, ?, ?, ?, ?)",
            [*where, table.rows, table.bytes, table.comment or None],
        )
        for position, c in enumerate(table.columns, 1):
            is_number = c.kind == "NUMBER"
            duck.execute(
                f"insert into {_META}._sandbox_columns values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [*where, c.name, position, "YES" if c.nullable else "NO", c.extension or c.kind,
                 c.length if c.kind == "TEXT" else None, c.byte_length if c.kind == "TEXT" else None,
                 c.precision if is_number else None, 10 if is_number else None, c.scale if is_number else None,
                 c.comment],
            )  # fmt: skip
        path = str(table.path).replace("'", "''")
        names = zip(table.file_names(), table.columns, strict=True)
        columns = ", ".join(f"{_quoted(file_name)} as {_quoted(c.name)}" for file_name, c in names)
        try:
            target = f"{_quoted(table.database)}.{_quoted(table.schema)}.{_quoted(table.name)}"
            duck.execute(f"create view {target} as select {columns} from read_parquet('{path}')")
        except Exception as error:
            logger.warning("%s is served by plain reads only: %s", table.full_name, error)

    def _describe_directory(self) -> None:
        """Puts the directory's tables into fakesnow's metadata views, where they would appear as views."""
        duck = self._fakesnow.duck_conn
        not_ours = (
            f"not exists (select 1 from {_META}._sandbox_tables s where s.table_catalog = {{0}} and"
            " s.table_schema = {1} and s.table_name = {2})"
        )
        standard = not_ours.format("o.table_catalog", "o.table_schema", "o.table_name")
        shown = not_ours.format("o.database_name", "o.schema_name", "o.name")
        _extend(duck, _META, "_fs_columns", standard, f"select * from {_META}._sandbox_columns")
        _extend(duck, _META, "_fs_show_views", shown, None)
        _extend(
            duck, _META, "_fs_show_tables", "true",
            "select to_timestamp(0)::timestamptz as created_on, table_name as name, 'TABLE' as kind,"
            " table_catalog as database_name, table_schema as schema_name, coalesce(comment, '') as comment,"
            " '' as cluster_by, n as rows, b as bytes, 'SYSADMIN' as owner, 1 as retention_time"
            f" from {_META}._sandbox_tables",
        )  # fmt: skip
        for database in sorted(self._directory.databases):
            if not re.fullmatch(r"[A-Z_][A-Z0-9_$]*", database):
                continue
            meta = f"{database}._fs_information_schema"
            _extend(duck, meta, "_fs_views", standard, None)
            _extend(
                duck, meta, "_fs_tables", "true",
                "select table_catalog, table_schema, table_name, 'SYSADMIN' as table_owner,"
                " 'BASE TABLE' as table_type, 'NO' as is_transient, n as row_count, b as bytes,"
                " 1 as retention_time, to_timestamp(0)::timestamptz as created,"
                " to_timestamp(0)::timestamptz as last_altered, comment"
                f" from {_META}._sandbox_tables where table_catalog = '{database}'",
            )  # fmt: skip


def _extend(duck: Any, where: str, view: str, kept: str, added: str | None) -> None:
    """Wraps one of fakesnow's views: the rows of its own that are kept, and rows of ours."""
    own = f"_own{view}"
    duck.execute(f"alter view {where}.{view} rename to {own}")
    union = f" union all by name {added}" if added else ""
    duck.execute(f"create view {where}.{view} as select * from {where}.{own} o where {kept}{union}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _binding_rows(bindings: dict[str, Any] | None) -> list[Any]:
    """Parameters for each execution: one, or one a row of an array binding."""
    if not bindings:
        return [None]
    if not all(k.isdigit() for k in bindings):
        return [{name: _value(b) for name, b in bindings.items()}]
    ordered = [bindings[str(i)] for i in range(1, len(bindings) + 1)]
    if any(isinstance(b["value"], list) for b in ordered):
        return list(zip(*[[_value({**b, "value": v}) for v in b["value"]] for b in ordered], strict=True))
    return [tuple(_value(b) for b in ordered)]


def _value(binding: dict[str, Any]) -> Any:
    return None if binding["value"] is None else from_binding(binding)
