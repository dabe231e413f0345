"""The testing kit: a runtime in which time is turned by hand, crashes, and the checks that every World must pass.

Needs no pytest.  The suite for authors of Worlds is :mod:`wrkflw.testing.conformance`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .clocks import ManualClock
    from .consistency import Violation, check_world
    from .crashes import crash_everywhere
    from .lives import Crashed
    from .runtime import TestRuntime

_ON_DEMAND = {
    "Crashed": "lives",
    "ManualClock": "clocks",
    "TestRuntime": "runtime",
    "Violation": "consistency",
    "check_world": "consistency",
    "crash_everywhere": "crashes",
}


def __getattr__(name: str) -> object:
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f".{_ON_DEMAND[name]}", __name__), name)
    globals()[name] = value
    return value


__all__ = ["Crashed", "ManualClock", "TestRuntime", "Violation", "check_world", "crash_everywhere"]
