"""Snowflake to PostgreSQL through encrypted or plain Parquet files, over one login.

>>> from snowmelt import SnowflakeConnectionManager, SnowflakeDataExtractor
>>> with SnowflakeConnectionManager() as conn_mgr:
...     extractor = SnowflakeDataExtractor(conn_mgr)
...     size = extractor.estimate_table_size("SALES.PUBLIC.ORDERS")
...     parts = list(extractor.extract_table_chunks("SALES.PUBLIC.ORDERS", directory="export"))
"""

import ctypes
import importlib.util
from pathlib import Path


def _load_arrow() -> None:
    """The engine uses pyarrow's own libraries, found without importing pyarrow (which costs 50 ms and more)."""
    spec = importlib.util.find_spec("pyarrow")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("snowmelt needs pyarrow 26: pip install 'pyarrow>=26,<27'")
    directory = Path(spec.submodule_search_locations[0])
    for name in ("libarrow.so.2600", "libparquet.so.2600"):
        try:
            ctypes.CDLL(str(directory / name), ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise ImportError(f"snowmelt needs pyarrow 26 ({error}): pip install 'pyarrow>=26,<27'") from error


_load_arrow()

from ._config import load_config  # noqa: E402
from ._connections import (  # noqa: E402
    BaseConnection,
    BaseConnectionManager,
    PostgresConnection,
    PostgresConnectionManager,
    SnowflakeConnection,
    SnowflakeConnectionManager,
)
from ._cursors import (  # noqa: E402
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    Binary,
    Cursor,
    Date,
    DateFromTicks,
    PostgresCursor,
    SnowflakeCursor,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
)
from ._snowmelt import version as __version__  # noqa: E402
from ._transfer import (  # noqa: E402
    PostgreSQLDataLoader,
    SnowflakeDataExtractor,
    TableChunks,
    TableReport,
    TableSize,
    export_data,
    export_table,
    import_data,
    import_table,
)
from .errors import (  # noqa: E402
    AuthenticationError,
    BugError,
    CommitInDoubt,
    ConfigurationError,
    ConnectionError,
    DatabaseError,
    DataError,
    Error,
    FileError,
    IntegrityError,
    InterfaceError,
    InternalError,
    Interrupted,
    LockedError,
    NotSupportedError,
    OperationalError,
    PostgresError,
    ProgrammingError,
    QueryError,
    UsageError,
    ValueError,
    VerificationError,
    Warning,
)

# PEP 249. Parameters are written ? for Snowflake and $1, $2, … for PostgreSQL.
apilevel = "2.0"
threadsafety = 2
paramstyle = "qmark"

__all__ = [
    "BINARY",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Binary",
    "Date",
    "DateFromTicks",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "AuthenticationError",
    "BaseConnection",
    "BaseConnectionManager",
    "BugError",
    "CommitInDoubt",
    "ConfigurationError",
    "ConnectionError",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Error",
    "FileError",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "Interrupted",
    "LockedError",
    "NotSupportedError",
    "OperationalError",
    "PostgreSQLDataLoader",
    "PostgresConnection",
    "PostgresConnectionManager",
    "PostgresCursor",
    "PostgresError",
    "ProgrammingError",
    "QueryError",
    "SnowflakeConnection",
    "SnowflakeConnectionManager",
    "SnowflakeCursor",
    "SnowflakeDataExtractor",
    "TableChunks",
    "TableReport",
    "TableSize",
    "UsageError",
    "ValueError",
    "VerificationError",
    "Warning",
    "__version__",
    "apilevel",
    "export_data",
    "export_table",
    "import_data",
    "import_table",
    "load_config",
    "paramstyle",
    "threadsafety",
]
