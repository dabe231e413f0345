"""Worlds: the contract of :mod:`wrkflw.world`, kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wrkflw.on_demand import loaded_from as _loaded_from

if TYPE_CHECKING:
    from .sqlite import SqliteWorld
else:  # A World is loaded when it is first asked for.
    __getattr__ = _loaded_from(__name__, {"SqliteWorld": "sqlite"})


__all__ = ["SqliteWorld"]
