"""Settings of snowmelt.toml and keyword arguments as the engine takes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from . import _snowmelt

Keys = list[tuple[str, Any]]


# What a key of several values is, by its own row of the key table.
_SHAPES = {
    (key["section"], key["name"]): (
        "a " + key["type"],
        Mapping if key["type"].startswith("table") else (list, tuple, set, frozenset),
    )
    for key in _snowmelt.configuration_keys()
    if key["type"].startswith(("table", "list"))
}


def keys(section: str, settings: Mapping[str, Any]) -> Keys:
    """Values in the forms that the engine's key table knows; None means "not given"."""
    return [(name, _value(section, name, value)) for name, value in settings.items() if value is not None]


def _value(section: str, name: str, value: object) -> bool | int | str | dict[str, str] | list[str]:
    where = f"{section}.{name}"
    shape, types = _SHAPES.get((section, name), ("text, a number or a bool", (bool, int, str, os.PathLike)))
    if not isinstance(value, types):
        raise TypeError(f"{where} must be {shape}, not {type(value).__name__}")
    if isinstance(value, Mapping):
        return {str(key): _text(f"{where}.{key}", text) for key, text in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (bool, int, str)):
        return value
    return [_text(where, text) for text in value]


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise TypeError(f"{name} must be text, a number or a bool, not {type(value).__name__}")


def table_keys(table: object) -> Keys:
    """A table_config: a dict with the keys of [[table]], or just the source's name."""
    if isinstance(table, str):
        return [("source", table)]
    if isinstance(table, Mapping):
        return keys("table", table)
    raise TypeError(f"a table is a dict with the keys of [[table]], or its name, not {type(table).__name__}")


def load_config(file: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Reads snowmelt.toml (or `file`) and the environment: ``{"tables": [...], "directory": ..., "export": {...}}``.

    Each table has every key of ``[[table]]``, and ``"export"`` every key of ``[export]``.

    >>> for table_config in snowmelt.load_config()["tables"]:
    ...     export_table(table_config, None, "export", conn_manager)
    """
    try:
        return _snowmelt.configuration(None if file is None else os.fspath(file))
    finally:
        _snowmelt.deliver_messages()
