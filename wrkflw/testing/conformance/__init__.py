"""The conformance suite: what every World must do, as checks that need nothing but the World.

::

    report = await conformance.run(make)  # make() gives a store that is empty, see conformance.Worlds
    print(report)

or, under pytest::

    @pytest.mark.parametrize("check", conformance.CHECKS, ids=str)
    async def test_the_world_keeps_the_contract(check: conformance.Check) -> None:
        async with make() as worlds:
            await check(worlds)

or ``python -m wrkflw.testing.conformance sqlite:///x.db``.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import report
from .checks import Check
from .contents import CHECKS
from .ensure import Breach
from .report import Report, Result
from .stage import NotOffered
from .worlds import Maker, Opening, Worlds

__all__ = ["CHECKS", "Breach", "Check", "Maker", "NotOffered", "Opening", "Report", "Result", "Worlds", "run"]


async def run(make: Maker, checks: Iterable[Check] = CHECKS) -> Report:
    """Every check over a store of its own, one after the other; never raises for what a World does."""
    return await report.run(make, checks)
