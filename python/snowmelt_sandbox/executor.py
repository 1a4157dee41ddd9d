"""What happens to one statement: the fast path from Parquet, our own answers about metadata, or fakesnow."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator

import pyarrow as pa
from fakesnow.fakes import FakeSnowflakeConnection
from sqlglot import exp

from snowmelt_sandbox import sql
from snowmelt_sandbox.chunks import EncodedResult, Encoder, ResultCache
from snowmelt_sandbox.engine import Engine
from snowmelt_sandbox.errors import access_denied, canceled, invalid_identifier, missing_object
from snowmelt_sandbox.sessions import Session, asks_for_json
from snowmelt_sandbox.settings import ROW_LIMIT, Settings
from snowmelt_sandbox.sqltypes import UNIT_DIGITS, Column, column_of_arrow, column_of_text
from snowmelt_sandbox.statements import Outcome, Statement
from snowmelt_sandbox.tables import Directory, DirectoryTable
from snowmelt_sandbox.wire import WirePlan, number_carriers, number_range

_DESCRIBE, _SHOW, _SCL = 0x4500, 0x4400, 0x4000
_ALTER_SESSION = re.compile(r"(?is)^\s*alter\s+session\s+(set|unset)\s+(.*?);?\s*$")
_PARAMETER = re.compile(r"""([A-Za-z_]\w*)\s*=\s*('(?:[^']|'')*'|[^\s,]+)""")
_USE = re.compile(r"""(?is)^\s*use\s+(role|warehouse|secondary\s+roles)\s+("?)([\w$.\- ]+)\2\s*;?\s*$""")
_EXPLAIN = re.compile(r"(?is)^\s*explain\s+(?:using\s+(\w+)\s+)?(.*)$")


class Executor:
    def __init__(self, settings: Settings, directory: Directory, engine: Engine) -> None:
        self._settings = settings
        self._directory = directory
        self._engine = engine
        self._cache = ResultCache()

    def run(self, statement: Statement) -> Outcome:
        """The whole life of a statement, on its own thread."""
        session = statement.session
        describe_only = bool(statement.request.get("describeOnly"))
        if (own := self._session_statement(session, statement.sql, describe_only)) is not None:
            return own
        text, seconds = sql.extract_waits(statement.sql)
        if seconds and not describe_only:
            statement.wait(seconds)
        if match := _EXPLAIN.match(text):
            return self._explain(session, match[2], (match[1] or "tabular").lower())
        expression = sql.parse(text)
        kind = sql.type_id(expression)
        if self._settings.deny_metadata and (what := sql.is_metadata_read(expression)) is not None:
            raise access_denied("object") if what == "object" else missing_object("INFORMATION_SCHEMA", "Schema")
        if (own := self._describe(session, expression)) is not None:
            return own
        if describe_only and kind != sql.SELECT and kind & ~0xFF not in {_SHOW, _DESCRIBE}:
            return _rows(("status",), [], kind)
        changed = sql.strip_time_travel(expression)
        as_json = session.wants_json() or asks_for_json(statement.request.get("parameters") or {})
        most = self._rows_at_most(session)
        read = sql.whole_table_read(expression, session.database, session.schema)
        table = self._directory.find(*read.table) if read is not None else None
        if read is not None and table is not None and not statement.request.get("bindings"):
            limits = [n for n in (0 if describe_only else read.limit, most) if n is not None]
            limit = min(limits, default=None)
            return self._read_table(statement, table, read.columns, limit, as_json)
        changed |= sql.name_projections(expression)
        changed |= sql.replace_context_functions(expression, _context(session))
        types = self._table_types(expression, session)
        text = expression.sql(dialect="snowflake") if changed else text
        if describe_only and kind == sql.SELECT:
            text = f"select * from ({text.rstrip().rstrip(';')}\n) limit 0"  # a comment may end the text
        return self._emulate(statement, text, kind, as_json or kind != sql.SELECT, types, most)

    def _rows_at_most(self, session: Session) -> int | None:
        """ROWS_PER_RESULTSET: what the session says wins over the account's default, and 0 is no limit."""
        return int(session.parameters.get(ROW_LIMIT, self._settings.rows_per_resultset)) or None

    # -- statements about the session -------------------------------------------------------------------------------

    def _session_statement(self, session: Session, text: str, describe_only: bool) -> Outcome | None:
        """ALTER SESSION and USE ROLE or WAREHOUSE: remembered, otherwise without effect."""
        if describe_only and (_ALTER_SESSION.match(text) or _USE.match(text)):
            return _rows(("status",), [], _SCL)
        if match := _ALTER_SESSION.match(text):
            if match[1].lower() == "unset":
                for name in re.findall(r"\w+", match[2]):
                    session.parameters.pop(name.upper(), None)
            else:
                for name, value in _PARAMETER.findall(match[2]):
                    session.parameters[name.upper()] = value[1:-1].replace("''", "'") if value[0] == "'" else value
        elif match := _USE.match(text):
            name = match[3] if match[2] else match[3].upper()
            if match[1].lower() == "role":
                session.role = name
            elif match[1].lower() == "warehouse":
                session.warehouse = name
        else:
            return None
        return _rows(("status",), [["Statement executed successfully."]], _SCL)

    def _explain(self, session: Session, inner: str, form: str) -> Outcome:
        """EXPLAIN: the planned bytes of the directory's tables, which is what clients estimate with."""
        if self._settings.deny_metadata:
            raise access_denied("object")
        expression = sql.parse(inner)
        names = [sql.table_name(t, session.database, session.schema) for t in expression.find_all(exp.Table)]
        tables = [t for n in names if (t := self._directory.find(*n)) is not None]
        size = sum(t.bytes for t in tables)
        stats = {"partitionsTotal": len(tables), "partitionsAssigned": len(tables), "bytesAssigned": size}
        if form == "json":
            plan = {"GlobalStats": stats, "Operations": [[{"id": 0, "operation": "Result"}]]}
            return _rows(("content",), [[json.dumps(plan)]], sql.SELECT)
        header = (
            "step",
            "id",
            "parent",
            "operation",
            "objects",
            "partitionsTotal",
            "partitionsAssigned",
            "bytesAssigned",
        )
        lines = [[None, None, None, "GlobalStats", None, *map(str, stats.values())]]
        lines += [["1", str(i), None, "TableScan", t.full_name, "1", "1", str(t.bytes)] for i, t in enumerate(tables)]
        return _rows(header, lines, sql.SELECT)

    def _describe(self, session: Session, expression: exp.Expr) -> Outcome | None:
        """DESCRIBE TABLE and SHOW PRIMARY KEYS of a directory table, with the declared types."""
        node = expression.args.get("scope") if isinstance(expression, exp.Show) else expression.args.get("this")
        if not isinstance(expression, exp.Describe | exp.Show) or not isinstance(node, exp.Table):
            return None
        table = self._directory.find(*sql.table_name(node, session.database, session.schema))
        if table is None:
            return None
        if isinstance(expression, exp.Describe):
            header = ("name", "type", "kind", "null?", "default", "primary key", "unique key", "check", "expression",
                      "comment", "policy name", "privacy domain")  # fmt: skip
            rows = [
                [c.name, c.sql_type, "COLUMN", "Y" if c.nullable else "N", None,
                 "Y" if c.name in table.primary_key else "N", "N", None, None, c.comment, None, None]
                for c in table.columns
            ]  # fmt: skip
            return _rows(header, rows, _DESCRIBE)
        if expression.name.upper() == "PRIMARY KEYS":
            header = ("created_on", "database_name", "schema_name", "table_name", "column_name", "key_sequence",
                      "constraint_name", "rely", "comment")  # fmt: skip
            where = [table.database, table.schema, table.name]
            rows = [
                ["0.000000000", *where, name, str(i), f"PK_{table.name}", "false", None]
                for i, name in enumerate(table.primary_key, 1)
            ]
            return _rows(header, rows, _SHOW)
        return None

    # -- whole tables -----------------------------------------------------------------------------------------------

    def _read_table(
        self,
        statement: Statement,
        table: DirectoryTable,
        names: tuple[str, ...] | None,
        limit: int | None,
        as_json: bool,
    ) -> Outcome:
        positions = table.select(names)
        if positions is None:
            known = {c.name for c in table.columns}
            raise invalid_identifier(next(n for n in names or () if n not in known))
        columns = tuple(table.columns[p] for p in positions)

        def make() -> EncodedResult:
            shape = self._settings.shape
            widths = table.carriers(positions) if shape.int_width == "result" and not as_json else {}
            plan = WirePlan(columns, widths, shape.timestamp_struct_from_scale)
            encoder = Encoder(shape, plan, as_json, statement.cancel.is_set)
            return encoder.encode(table.arrow_schema(positions), table.batches(positions, limit))

        key = (table.version(), tuple(positions), limit, as_json)
        result = self._cache.get(key, make, statement.cancel.is_set)
        return Outcome(result, sql.SELECT, True, (table.database, table.schema, table.name))

    # -- everything else --------------------------------------------------------------------------------------------

    def _table_types(self, expression: exp.Expr, session: Session) -> dict[str, Column]:
        """Declared types that survive a filter or an order over one table: DuckDB would forget them."""
        if not isinstance(expression, exp.Select) or expression.args.get("joins"):
            return {}
        source = expression.args.get("from_")
        if source is None or not isinstance(source.this, exp.Table):
            return {}
        table = self._directory.find(*sql.table_name(source.this, session.database, session.schema))
        if table is None:
            return {}
        types = {c.name: c for c in table.columns}
        projections = expression.expressions
        if any(isinstance(p, exp.Star) for p in projections):
            return types
        plain = {sql.identifier(p.this) for p in projections if isinstance(p, exp.Column)}
        return {name: column for name, column in types.items() if name in plain}

    @contextlib.contextmanager
    def _connection(self, statement: Statement) -> Iterator[FakeSnowflakeConnection]:
        """The session's own connection when it is free, else another one on the same databases."""
        session = statement.session
        if session.home_lock.acquire(blocking=False):
            try:
                if session.home is None:
                    session.home = self._engine.connect(session.database, session.schema, create=False)
                connection = session.home
                statement.interrupt = connection._duck_conn.interrupt  # noqa: SLF001
                yield connection
                session.database, session.schema = connection.database, connection.schema
            finally:
                statement.interrupt = None
                session.home_lock.release()
            return
        connection = self._engine.connect(session.database, session.schema, create=False)
        try:
            statement.interrupt = connection._duck_conn.interrupt  # noqa: SLF001
            yield connection
        finally:
            statement.interrupt = None
            connection.close()

    def _emulate(
        self,
        statement: Statement,
        text: str,
        kind: int,
        as_json: bool,
        declared: dict[str, Column],
        most: int | None,
    ) -> Outcome:
        with self._connection(statement) as connection:
            if statement.cancel.is_set():
                raise canceled()
            table, duck_types, affected = self._engine.run(connection, text, statement.request.get("bindings"), statement.id)
        table = table.slice(0, most)
        columns = tuple(_result_columns(table, duck_types, declared))
        if kind in sql.DML and statement.request.get("bindings") and table.num_columns == 1:
            return _rows(tuple(c.name for c in columns), [[str(affected)]], kind)
        ranges = {i: number_range(table.column(i), c.scale or 0) for i, c in enumerate(columns) if c.kind == "NUMBER"}
        widths = number_carriers(columns, ranges) if self._settings.shape.int_width == "result" else {}
        plan = WirePlan(columns, widths, self._settings.shape.timestamp_struct_from_scale)
        encoder = Encoder(self._settings.shape, plan, as_json, statement.cancel.is_set)
        return Outcome(encoder.encode(table.schema, table.to_batches(max_chunksize=16_384)), kind)


_DUCK_SEMI_STRUCTURED = {"JSON": "VARIANT"}


def _result_columns(table: pa.Table, duck_types: list[str], declared: dict[str, Column]) -> Iterator[Column]:
    for index, field in enumerate(table.schema):
        known = declared.get(field.name)
        if known is not None and _storable(field.type, known):
            yield known
            continue
        if index < len(duck_types) and duck_types[index] in _DUCK_SEMI_STRUCTURED:
            yield column_of_text(field.name, _DUCK_SEMI_STRUCTURED[duck_types[index]])
            continue
        column = column_of_arrow(field.name, field.type)
        if column.kind.startswith("TIME"):
            # Snowflake's default; also the form in which every client agrees on the fraction.
            column = dataclasses.replace(column, scale=UNIT_DIGITS["ns"])
        yield column


def _storable(kind: pa.DataType, column: Column) -> bool:
    """Whether a value of this Arrow type can be one of the declared column (an alias may hide something else)."""
    natural = column_of_arrow("", kind).kind
    if natural == column.kind:
        return natural != "NUMBER" or not pa.types.is_decimal(kind) or kind.scale <= (column.scale or 0)
    return natural in {"TEXT", "OBJECT", "ARRAY", "BINARY", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ"} and column.kind not in {
        "NUMBER", "TEXT", "BINARY", "BOOLEAN", "DATE", "FLOAT", "TIME",
    }  # fmt: skip


def _rows(names: tuple[str, ...], rows: list[list[str | None]], kind: int) -> Outcome:
    """A small answer of our own, in the JSON format that such statements have."""
    columns = tuple(column_of_text(n, "VARCHAR") for n in names)
    return Outcome(EncodedResult(columns, "json", inline_rows=len(rows), rowset=rows), kind)


def _context(session: Session) -> dict[str, str | None]:
    return {
        "CURRENTROLE": session.role, "CURRENTWAREHOUSE": session.warehouse, "CURRENTUSER": session.user.upper(),
        "CURRENTSESSION": str(session.id), "CURRENTACCOUNT": "SANDBOX", "CURRENTREGION": "LOCAL",
        "CURRENTDATABASE": session.database, "CURRENTSCHEMA": session.schema, "LASTQUERYID": session.last_query_id,
    }  # fmt: skip
