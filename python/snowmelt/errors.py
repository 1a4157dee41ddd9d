"""The engine's errors as Python classes: one a kind, each below the PEP 249 class that drivers' users catch.

Every error has ``kind``, ``code`` (the stable word to search for), ``message``, ``where`` (table, column, row, file), ``hint``
(the remedy), ``sqlstate``, ``query_id``, ``vendor_code``, ``connection_lost``, ``nothing_sent`` and ``exit_code``.
"""

from __future__ import annotations

import builtins


class Warning(Exception):  # PEP 249's name
    """Important warnings of a database; snowmelt logs instead of raising it."""


class Error(Exception):
    """Base of every error of snowmelt.

    >>> try:
    ...     conn_mgr.get_connection()
    ... except snowmelt.Error as error:
    ...     print(error.code, error.hint)
    """

    kind = "usage"
    exit_code = 1

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "",
        where: str = "",
        hint: str = "",
        sqlstate: str = "",
        query_id: str = "",
        vendor_code: int = 0,
        connection_lost: bool = False,
        nothing_sent: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where
        self.hint = hint
        self.sqlstate = sqlstate
        self.query_id = query_id
        self.vendor_code = vendor_code
        self.connection_lost = connection_lost
        self.nothing_sent = nothing_sent

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        if self.code:
            text = f"{self.code}: {text}"
        return f"{text}\n  hint: {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple:
        return _restore, (type(self), self.__dict__.copy())


def _restore(kind: type[Error], facts: dict) -> Error:
    error = kind(facts["message"])
    error.__dict__.update(facts)
    return error


class InterfaceError(Error):
    """PEP 249: a problem of the interface rather than of the database."""


class DatabaseError(Error):
    """PEP 249: a problem of the database."""


class DataError(DatabaseError):
    """PEP 249: a problem of the data."""


class OperationalError(DatabaseError):
    """PEP 249: a problem of the database's operation, not of the programmer."""


class IntegrityError(DatabaseError):
    """PEP 249: the integrity of the database is affected."""


class InternalError(DatabaseError):
    """PEP 249: an internal error."""


class ProgrammingError(DatabaseError):
    """PEP 249: a programming error."""


class NotSupportedError(DatabaseError):
    """PEP 249: not supported by the database."""


class UsageError(ProgrammingError, InterfaceError):
    """A call that makes no sense here: after close(), from a second thread, in a forked process."""

    kind, exit_code = "usage", 1


class ConfigurationError(InterfaceError):
    """Settings that cannot work; the hint names the key."""

    kind, exit_code = "configuration", 2


class AuthenticationError(OperationalError):
    """The login was refused. Do not retry blindly: accounts lock."""

    kind, exit_code = "authentication", 3


class ConnectionError(OperationalError):
    """The server was not reached, or the connection was lost."""

    kind, exit_code = "connection", 4


class QueryError(ProgrammingError):
    """Snowflake refused the statement."""

    kind, exit_code = "query", 5


class FileError(OperationalError):
    """A file is missing, damaged, encrypted with another password, or cannot be written."""

    kind, exit_code = "file", 6


class ValueError(DataError, builtins.ValueError):
    """A value or type that cannot be kept exactly."""

    kind, exit_code = "value", 7


class PostgresError(DatabaseError):
    """PostgreSQL refused; ``sqlstate`` says why, and the PEP 249 class follows it."""

    kind, exit_code = "postgres", 8


class PostgresDataError(PostgresError, DataError):
    """SQLSTATE class 22."""


class PostgresIntegrityError(PostgresError, IntegrityError):
    """SQLSTATE class 23."""


class PostgresProgrammingError(PostgresError, ProgrammingError):
    """SQLSTATE classes 26, 34, 3D, 3F and 42."""


class PostgresOperationalError(PostgresError, OperationalError):
    """SQLSTATE classes 40, 53 to 58."""


class PostgresNotSupportedError(PostgresError, NotSupportedError):
    """SQLSTATE class 0A."""


class CommitInDoubt(OperationalError):
    """The link broke during COMMIT: look at the target before trying again."""

    kind, exit_code = "commit_in_doubt", 9


class BugError(InternalError):
    """A bug of snowmelt; please report it."""

    kind, exit_code = "bug", 10


class VerificationError(DataError):
    """Counts or digests differ."""

    kind, exit_code = "verification", 11


class LockedError(OperationalError):
    """Another run holds the export directory's lock."""

    kind, exit_code = "locked", 12


class Interrupted(OperationalError):
    """The work was stopped by the caller."""

    kind, exit_code = "interrupted", 130


_KINDS: dict[str, type[Error]] = {
    kind.kind: kind
    for kind in (
        UsageError, ConfigurationError, AuthenticationError, ConnectionError, QueryError, FileError, ValueError, PostgresError,
        CommitInDoubt, BugError, VerificationError, LockedError, Interrupted,
    )
}  # fmt: skip

_SQLSTATES: dict[str, type[PostgresError]] = {
    "0A": PostgresNotSupportedError,
    "22": PostgresDataError,
    "23": PostgresIntegrityError,
    **dict.fromkeys(("26", "34", "3D", "3F", "42"), PostgresProgrammingError),
    **dict.fromkeys(("40", "53", "54", "55", "57", "58"), PostgresOperationalError),
}


def from_engine(
    kind: str,
    code: str,
    message: str,
    where: str,
    hint: str,
    sqlstate: str,
    query_id: str,
    vendor_code: int,
    connection_lost: bool,
    nothing_sent: bool,
) -> Error:
    """The exception for an error of the engine."""
    made = _KINDS.get(kind, BugError)
    if made is PostgresError:
        made = _SQLSTATES.get(sqlstate[:2], PostgresError)
    return made(
        message, code=code, where=where, hint=hint, sqlstate=sqlstate, query_id=query_id, vendor_code=vendor_code,
        connection_lost=connection_lost, nothing_sent=nothing_sent,
    )  # fmt: skip
