"""Settings of snowmelt.toml and keyword arguments as the engine takes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from . import _snowmelt


def keys(section: str, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Values as text; None means "not given"."""
    return [(name, _text(f"{section}.{name}", value)) for name, value in settings.items() if value is not None]


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{name} must be text, a number or a bool, not {type(value).__name__}")


def table_keys(table: object) -> list[tuple[str, str]]:
    """A table_config: a dict with the keys of [[table]], or just the source's name."""
    if isinstance(table, str):
        return [("source", table)]
    if isinstance(table, Mapping):
        plain = {name: value for name, value in table.items() if name not in ("rename", "types", "drop")}
        flat = keys("table", plain)
        for name in ("rename", "types"):
            columns = table.get(name) or {}
            if not isinstance(columns, Mapping):
                raise TypeError(f"table.{name} must be a dict of columns, not {type(columns).__name__}")
            flat += [(f"{name}.{column}", _text(f"table.{name}.{column}", value)) for column, value in columns.items()]
        dropped = table.get("drop") or []
        if isinstance(dropped, str) or not isinstance(dropped, (list, tuple, set, frozenset)):
            raise TypeError(f"table.drop must be a list of columns, not {type(dropped).__name__}")
        return flat + [("drop", _text("table.drop", column)) for column in dropped]
    raise TypeError(f"a table is a dict with the keys of [[table]], or its name, not {type(table).__name__}")


def load_config(file: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Reads snowmelt.toml (or `file`) and the environment: ``{"tables": [...], "directory": ...}``.

    >>> for table_config in snowmelt.load_config()["tables"]:
    ...     export_table(table_config, None, "export", conn_manager)
    """
    try:
        return _snowmelt.configuration(None if file is None else os.fspath(file))
    finally:
        _snowmelt.deliver_messages()
