"""The Snowflake connection manager."""

from snowmelt import SnowflakeConnection, SnowflakeConnectionManager

__all__ = ["SnowflakeConnection", "SnowflakeConnectionManager"]
