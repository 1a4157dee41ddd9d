"""Failures as Snowflake reports them: HTTP 200 with ``success: false``, a code and an SQLSTATE."""

from __future__ import annotations

import re

import duckdb
import snowflake.connector.errors

SESSION_TOKEN_MISSING = ("390103", "Session token not found in the request data.")
LOGIN_AGAIN = ("390104", "User must login again to access the service.")
SESSION_GONE = ("390111", "Session no longer exists.  New login required to access the service.")
SESSION_EXPIRED = ("390112", "Your session has expired. Please login again.")
MASTER_MISSING = ("390113", "Master token not found in the request data.")
MASTER_EXPIRED = ("390114", "Authentication token has expired.  The user must authenticate again.")
MASTER_INVALID = ("390115", "Master token is invalid.")
ID_TOKEN_INVALID = ("390195", "The provided ID Token is invalid.")
WRONG_PASSWORD = ("390100", "Incorrect username or password was specified.")
NOT_EXECUTING = ("000605", "Identified SQL statement is not currently executing.")


class ServerError(Exception):
    """A refusal of the service itself (sessions, logins)."""

    def __init__(self, error: tuple[str, str], sqlstate: str = "08001") -> None:
        super().__init__(error[1])
        self.code, self.message = error
        self.sqlstate = sqlstate


class SqlError(ServerError):
    """A statement that failed."""

    def __init__(self, code: str, sqlstate: str, message: str) -> None:
        super().__init__((code, message), sqlstate)


def canceled() -> SqlError:
    return SqlError("000604", "57014", "SQL execution canceled")


def missing_object(name: str, kind: str = "Object") -> SqlError:
    return SqlError("002003", "42S02", f"SQL compilation error:\n{kind} '{name}' does not exist or not authorized.")


def access_denied(what: str) -> SqlError:
    return SqlError("003001", "42501", f"SQL access control error:\nInsufficient privileges to operate on {what}")


def invalid_identifier(name: str) -> SqlError:
    return SqlError("000904", "42000", f"SQL compilation error: error line 1 at position 7\ninvalid identifier '{name}'")


def syntax_error(detail: str) -> SqlError:
    return SqlError("001003", "42000", f"SQL compilation error:\nsyntax error: {detail}")


def sql_error(error: Exception) -> SqlError:
    """Whatever fakesnow or DuckDB raised, as the code that a Snowflake client expects."""
    if isinstance(error, SqlError):
        return error
    cause = error.__cause__ or error
    text = getattr(error, "msg", None) or str(error)
    if isinstance(cause, duckdb.InterruptException) or isinstance(error, duckdb.InterruptException):
        return canceled()
    if match := re.search(r'Referenced (?:column|table) "([^"]+)" not found', text):
        return invalid_identifier(match[1].upper())
    if match := re.search(r"(Table|View|Schema|Catalog|Scalar Function) with name \"?([^\"!]+?)\"? does not exist", text):
        if match[1] == "Scalar Function":
            return SqlError("002140", "42601", f"SQL compilation error:\nUnknown function {match[2].upper()}")
        return missing_object(match[2].upper())
    if isinstance(error, snowflake.connector.errors.Error) and error.errno and error.errno > 0:
        return SqlError(f"{error.errno:06d}", error.sqlstate or "42000", text)
    if isinstance(cause, duckdb.CatalogException):
        return SqlError("002003", "42S02", f"SQL compilation error:\n{text.splitlines()[0]}")
    if isinstance(cause, duckdb.ParserException):
        return syntax_error(text.splitlines()[0])
    if isinstance(cause, duckdb.DataError):
        return SqlError("100038", "22018", text.splitlines()[0])
    if isinstance(error, NotImplementedError):
        return SqlError("000002", "0A000", f"Unsupported feature '{text}'.")
    return SqlError("000603", "XX000", f"SQL execution internal error: {type(error).__name__}: {text}")
