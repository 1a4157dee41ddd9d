"""Reading statements: what kind they are, and the rewriting that fakesnow does not do."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

import sqlglot
from fakesnow.statement_type import statement_type_id
from sqlglot import exp
from sqlglot.errors import SqlglotError

from snowmelt_sandbox.errors import SqlError, syntax_error

SELECT = 0x1000
DML = range(0x3000, 0x4000)
_WAIT = re.compile(r"system\$wait\s*\(\s*([0-9.]+)\s*(?:,\s*'(\w+)'\s*)?\)", re.IGNORECASE)
_UNITS = {"MILLISECONDS": 0.001, "SECONDS": 1.0, "MINUTES": 60.0, "HOURS": 3600.0, "DAYS": 86400.0}

# sqlglot warns about each statement that it keeps as a plain command; ours are handled by hand.
logging.getLogger("sqlglot").setLevel(logging.ERROR)


@dataclass(frozen=True)
class TableRead:
    """``select <columns> from <table> [limit n]``: what the fast path can serve."""

    table: tuple[str | None, str | None, str]
    columns: tuple[str, ...] | None
    limit: int | None


def parse(text: str) -> exp.Expr:
    """The one statement in ``text``."""
    try:
        found = [e for e in sqlglot.parse(text, read="snowflake") if e is not None and not isinstance(e, exp.Semicolon)]
    except SqlglotError as error:
        detail = re.sub(r"\x1b\[\d*m", "", str(error)).splitlines()[0]
        raise syntax_error(detail) from None
    if not found:
        raise SqlError("000900", "42601", "Empty SQL statement.")
    if len(found) > 1:
        message = f"Actual statement count {len(found)} did not match the desired statement count 1."
        raise SqlError("000008", "0A000", message)
    return found[0]


def type_id(expression: exp.Expr) -> int:
    return SELECT if isinstance(expression, exp.Query) else statement_type_id(expression)


def extract_waits(text: str) -> tuple[str, float]:
    """Takes SYSTEM$WAIT calls out (DuckDB has none) and gives their sum in seconds."""
    seconds = 0.0

    def literal(match: re.Match[str]) -> str:
        nonlocal seconds
        unit = (match[2] or "SECONDS").upper()
        seconds += float(match[1]) * _UNITS.get(unit, 1.0)
        return f"'waited {match[1]} {unit.lower()}'"

    replaced = _WAIT.sub(literal, text)
    return re.sub(r"(?is)^\s*call\s+('waited [^']*')\s*;?\s*$", r"select \1 as SYSTEM$WAIT", replaced), seconds


def identifier(node: exp.Expr | None) -> str | None:
    """A name as Snowflake resolves it: unquoted folds to upper case."""
    if not isinstance(node, exp.Identifier):
        return None
    return node.name if node.args.get("quoted") else node.name.upper()


def table_name(node: exp.Table, database: str | None, schema: str | None) -> tuple[str | None, str | None, str]:
    name = identifier(node.this) or node.name.upper()
    own_schema = identifier(node.args.get("db"))
    return identifier(node.args.get("catalog")) or database, own_schema or schema, name


def strip_time_travel(expression: exp.Expr) -> bool:
    """Removes AT(..) and BEFORE(..): the tables here do not change, so every instant reads the same."""
    found = False
    for table in expression.find_all(exp.Table):
        if table.args.get("when") is not None:
            table.set("when", None)
            found = True
    return found


def whole_table_read(expression: exp.Expr, database: str | None, schema: str | None) -> TableRead | None:
    """Recognises a plain read of one table; None for anything with more to it."""
    if not isinstance(expression, exp.Select):
        return None
    clauses = {k for k, v in expression.args.items() if v and k not in {"kind", "hint"}}
    if not clauses <= {"expressions", "from_", "limit"}:
        return None
    source = expression.args.get("from_")
    table = source.this if source is not None else None
    if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
        return None
    if {k for k, v in table.args.items() if v and k not in {"this", "db", "catalog"}}:
        return None
    limit = None
    if (clause := expression.args.get("limit")) is not None:
        if not isinstance(clause, exp.Limit) or not isinstance(clause.expression, exp.Literal) or clause.expression.is_string:
            return None
        limit = int(clause.expression.this)
    columns = _column_names(expression.expressions)
    if columns == ():
        return None
    return TableRead(table_name(table, database, schema), columns, limit)


def _column_names(projections: list[exp.Expr]) -> tuple[str, ...] | None:
    """The plain column names; None for ``*``; () for anything else."""
    if len(projections) == 1 and isinstance(projections[0], exp.Star):
        return None if not any(projections[0].args.values()) else ()
    names = []
    for projection in projections:
        inner = projection
        alias = None
        if isinstance(projection, exp.Alias):
            inner, alias = projection.this, identifier(projection.args["alias"])
        if not isinstance(inner, exp.Column) or isinstance(inner.this, exp.Star) or inner.args.get("table"):
            return ()
        name = identifier(inner.this)
        if name is None or (alias is not None and alias != name):
            return ()
        names.append(name)
    return tuple(names)


def is_metadata_read(expression: exp.Expr) -> str | None:
    """What a role without privileges may not see: the kind of metadata that a statement reads, or None."""
    if isinstance(expression, exp.Show | exp.Describe):
        return "object"
    if isinstance(expression, exp.Command):
        word = str(expression.this).upper()
        if word == "EXPLAIN":
            return "object"
        if word == "SHOW":
            return "object"
    for table in expression.find_all(exp.Table):
        if table.db.upper() == "INFORMATION_SCHEMA" or table.catalog.upper() == "SNOWFLAKE":
            return "schema"
    return None


def replace_context_functions(expression: exp.Expr, values: dict[str, str | None]) -> bool:
    """CURRENT_ROLE() and the like from the session; fakesnow has none of them."""
    changed = False
    for node in list(expression.walk()):
        name = str(node.this) if isinstance(node, exp.Anonymous) else type(node).__name__
        key = name.replace("_", "").upper()
        if isinstance(node, exp.Func) and key in values and node.parent is not None:
            value = values[key]
            node.replace(exp.Null() if value is None else exp.Literal.string(value))
            changed = True
    return changed


def name_projections(expression: exp.Expr) -> bool:
    """Gives unnamed result columns the name Snowflake gives them: the expression's own text in upper case."""
    if not isinstance(expression, exp.Select):
        return False
    changed = False
    named = []
    for projection in expression.expressions:
        if isinstance(projection, exp.Alias | exp.Column | exp.Star | exp.Dot | exp.Aliases):
            named.append(projection)
            continue
        text = projection.sql(dialect="snowflake")
        text = text if isinstance(projection, exp.Literal) else text.upper()
        named.append(exp.alias_(projection, text, quoted=True))
        changed = True
    if changed:
        expression.set("expressions", named)
    return changed
