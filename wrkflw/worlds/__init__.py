"""Worlds: the contract of :mod:`wrkflw.world`, kept."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sqlite import SqliteWorld

# A World is loaded when it is first asked for.
_ON_DEMAND = {"SqliteWorld": "sqlite"}


def __getattr__(name: str) -> object:
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f".{_ON_DEMAND[name]}", __name__), name)
    globals()[name] = value
    return value


__all__ = ["SqliteWorld"]
