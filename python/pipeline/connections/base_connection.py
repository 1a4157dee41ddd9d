"""The abstract base of connection managers."""

from snowmelt import BaseConnection, BaseConnectionManager

__all__ = ["BaseConnection", "BaseConnectionManager"]
