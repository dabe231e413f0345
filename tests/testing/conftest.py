"""The fixtures of wrkflw's own plugin, as its users have them."""

from __future__ import annotations

from _wrkflw_pytest import world, wrkflw_runtime

__all__ = ["world", "wrkflw_runtime"]
