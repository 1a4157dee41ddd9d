"""snowmelt-sandbox: a local server that behaves like Snowflake where a client can tell the difference.

SQL runs on fakesnow (an emulator on DuckDB); logins, sessions, result chunks, asynchronous answers and faults are ours,
because fakesnow has none of them. See ``cli.py`` for the options and ``testing.py`` for use in tests.
"""

from importlib.metadata import version

__version__ = version("snowmelt-sandbox")
