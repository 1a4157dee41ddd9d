"""Connection managers."""

from .base_connection import BaseConnectionManager
from .postgres_connection import PostgresConnectionManager
from .snowflake_connection import SnowflakeConnectionManager

__all__ = ["BaseConnectionManager", "PostgresConnectionManager", "SnowflakeConnectionManager"]
