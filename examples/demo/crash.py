"""The second part of the demo: SIGKILL in the middle of a run, and the same command again."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from signal import SIGKILL

from wrkflw import Runtime, Snapshot

from .journey import KEY, STOPS, journey
from .screen import RED, Screen

KILLED_AT = STOPS[6]


async def show(screen: Screen, database: Path, witness: Path) -> None:
    screen.say(f"a process begins a run of {len(STOPS)} steps; it will be killed at {KILLED_AT}")
    await travel(screen, database, witness, killed_at=KILLED_AT)
    before = await recorded(database)
    completed = [key for key, step in before.step_results.items() if step.status == "completed"]
    interrupted = [key for key, step in before.step_results.items() if step.status == "running"]
    screen.say(f"the log says: {len(completed)} steps completed, {' '.join(interrupted) or 'none'} had begun")
    screen.say()
    screen.say("the same command again:")
    await travel(screen, database, witness)

    after = await recorded(database)
    ran = Counter(lines_of(witness))
    screen.say()
    screen.table(
        ("step", "body ran", "log"),
        [(stop, f"{ran[stop]} ×", told(stop, completed, interrupted)) for stop in STOPS],
    )
    screen.check("the process was killed in the middle", 0 < len(completed) < len(STOPS))
    screen.check("the run completed, with every stop in order", after.result == list(STOPS))
    screen.check("no completed step ran again", all(ran[stop] == 1 for stop in completed))
    others = [stop for stop in STOPS if stop not in interrupted]
    screen.check("nor did any other but the interrupted one", all(ran[stop] == 1 for stop in others))
    screen.say("a body that was interrupted runs again: its effects may happen twice, so hand on ctx.idempotency_key")


async def travel(screen: Screen, database: Path, witness: Path, killed_at: str | None = None) -> None:
    """Run the journey in a process of its own, and kill it as soon as it tells of the stop ``killed_at``."""
    command = (sys.executable, "-m", "examples.demo.journey", str(database), str(witness))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    screen.tick("")
    async for line in process.stdout:
        stop = line.decode().strip()
        screen.tick(stop.removeprefix("stop-"))
        if stop == killed_at:
            process.kill()
    code = await process.wait()
    screen.say(screen.paint("killed with SIGKILL", RED) if code == -SIGKILL else f"exit code {code}")


def lines_of(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def told(stop: str, completed: list[str], interrupted: list[str]) -> str:
    if stop in completed:
        return "completed before the kill"
    return "interrupted by it, begun again" if stop in interrupted else "completed after it"


async def recorded(database: Path) -> Snapshot:
    """The run as its log has it.  This process only reads: it takes no runs."""
    async with Runtime(f"sqlite:///{database}", workflows=[journey], worker=False):
        run = await journey.create_run(idempotency_key=KEY)
        return await run.snapshot()
