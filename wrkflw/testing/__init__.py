"""The testing kit: a runtime in which time is turned by hand, crashes, and the checks that every World must pass.

Needs no pytest.  The suite for authors of Worlds is :mod:`wrkflw.testing.conformance`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wrkflw.on_demand import loaded_from as _loaded_from

if TYPE_CHECKING:
    from .clocks import ManualClock
    from .consistency import Violation, check_world
    from .crashes import crash_everywhere
    from .lives import Crashed
    from .runtime import TestRuntime
else:
    __getattr__ = _loaded_from(
        __name__,
        {
            "Crashed": "lives",
            "ManualClock": "clocks",
            "TestRuntime": "runtime",
            "Violation": "consistency",
            "check_world": "consistency",
            "crash_everywhere": "crashes",
        },
    )


__all__ = ["Crashed", "ManualClock", "TestRuntime", "Violation", "check_world", "crash_everywhere"]
