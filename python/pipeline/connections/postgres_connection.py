"""The PostgreSQL connection manager."""

from snowmelt import PostgresConnection, PostgresConnectionManager

__all__ = ["PostgresConnection", "PostgresConnectionManager"]
