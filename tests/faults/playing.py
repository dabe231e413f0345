"""A scenario on a disk that fails once, then on one that is sound: two lives, and what is found after each."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash import oracle
from wrkflw import StoreError
from wrkflw.worlds.sqlite import Durability

from . import judging, virtual
from .disk import Disk, Fault
from .scenarios import Scenario
from .stage import Fact, Stage, Witness
from .vfs import LAYER

LONGEST_LIFE = 60.0  # virtual seconds that a life on a failing disk may take
LONGEST_CURE = 600.0  # and the one after it: whatever has not ended then never will
DATABASE = "app.db"


@dataclass
class Play:
    """What became of it."""

    disk: Disk
    facts: list[Fact] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def play(scenario: Scenario, folder: Path, fault: Fault | None, template: Path) -> Play:
    """Play it in ``folder`` on a disk with this fault, restart on what is left, and judge what was found each time."""
    prepare(scenario, folder, template)
    disk, clock = Disk(fault), virtual.Clock()
    witness = Witness(disk)
    end = live(scenario, folder, witness, clock, heals=False)
    play = Play(disk, witness.facts)
    if fault is not None and len(disk.kinds) <= fault.number:
        play.violations.append(f"there were only {len(disk.kinds)} operations")
    if end is not None and not _is_to_be_expected(fault, end):
        play.violations.append(f"the first life ended with {end!r}")
    left = judging.found_in(folder / DATABASE)
    play.violations += judging.wrong(left, witness.facts)
    told = len(witness.facts)

    witness.disk = Disk()
    if (end := live(scenario, folder, witness, clock, heals=True)) is not None:
        play.violations.append(f"on a sound disk the second life ended with {end!r}")
    healed = judging.found_in(folder / DATABASE)
    play.violations += judging.wrong(healed, witness.facts)
    play.violations += judging.unfinished(healed, witness.facts)
    play.violations += oracle.judge_repeats(left.database.completed(), witness.facts[told:])
    return play


def prepare(scenario: Scenario, folder: Path, template: Path) -> None:
    """Put the database there that the scenario begins with."""
    if not scenario.fresh:
        shutil.copy(template, folder / DATABASE)


def _is_to_be_expected(fault: Fault | None, end: BaseException) -> bool:
    """A disk that fails may end a process with an error that says so; one without space may keep it from its end."""
    if fault is None:
        return False
    return isinstance(end, StoreError) or (fault.mode == "full" and isinstance(end, TimeoutError))


def live(
    scenario: Scenario,
    folder: Path,
    witness: Witness,
    clock: virtual.Clock,
    *,
    heals: bool,
    durability: Durability = "full",
) -> BaseException | None:
    """One life.  What ended it, if that was neither its own end nor a kill."""
    assert LAYER is not None
    stage = Stage(folder / DATABASE, clock, witness, heals=heals, durability=durability)
    with LAYER.guarding(folder, witness.disk):
        return virtual.run(_life(scenario, stage), clock)


async def _life(scenario: Scenario, stage: Stage) -> BaseException | None:
    loop, disk, dead = asyncio.get_running_loop(), stage.witness.disk, asyncio.Event()
    loop.set_exception_handler(lambda _loop, _context: None)  # dying is not tidy

    def die() -> None:
        loop.call_soon_threadsafe(dead.set)

    disk.on_death = die
    script, death = asyncio.ensure_future(scenario.script(stage)), asyncio.ensure_future(dead.wait())
    longest = LONGEST_CURE if stage.heals else LONGEST_LIFE
    await asyncio.wait({script, death}, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
    died, ended = disk.dead, script.done()
    if died or not ended:
        disk.dead = True
        stage.kill_all()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    if died:
        return None
    return script.exception() if ended else TimeoutError(f"nothing has ended after {longest} seconds")
