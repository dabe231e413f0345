"""Programs that catch everything, also that they are left: their runs park all the same, and hold up nobody."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from wrkflw import Completed, Event, StepTools, Waiting, workflow
from wrkflw.testing import TestRuntime

GO = Event("go", int)


async def a_bare_except(step: StepTools) -> None:
    for _ in range(3):
        done = False
        while not done:
            try:
                await step.sleep("nap", "50m")
                done = True
            except:  # noqa: E722
                pass


async def a_continue_in_finally(step: StepTools) -> None:
    naps = 0
    while naps < 3:
        try:
            await step.sleep("nap", "50m")
            naps += 1
        finally:
            continue  # noqa: B012


async def a_limit_within(step: StepTools) -> None:
    for _ in range(3):
        while True:
            try:
                async with asyncio.timeout(3000):
                    await step.wait_for_event(GO)
            except TimeoutError:
                break
            except BaseException:  # noqa: BLE001
                pass


async def a_gather_within(step: StepTools) -> None:
    for _ in range(3):
        done = False
        while not done:
            try:
                await asyncio.gather(step.sleep("nap", "50m"), step.sleep("other-nap", "10m"))
                done = True
            except BaseException:  # noqa: BLE001
                pass


async def tasks_in_its_last_words(step: StepTools) -> None:
    async def nap(name: str) -> None:
        done = False
        while not done:
            try:
                await asyncio.create_task(step.sleep(name, "50m"))
                done = True
            except BaseException:  # noqa: BLE001
                pass

    for number in range(3):
        await nap(f"nap-{number}")


REFUSING: list[Callable[[StepTools], Awaitable[None]]] = [
    a_bare_except, a_continue_in_finally, a_limit_within, a_gather_within, tasks_in_its_last_words,
]  # fmt: skip


@pytest.mark.parametrize("code", REFUSING, ids=lambda code: code.__name__)
async def test_a_program_that_catches_everything_parks_and_goes_on(
    code: Callable[[StepTools], Awaitable[None]],
) -> None:
    @workflow
    async def refusing(step: StepTools, number: int) -> int:
        await code(step)
        return number

    async with TestRuntime() as rt:
        run = await refusing.create_run()
        assert isinstance(await run.start(1), Waiting)
        await rt.restart()
        await rt.advance(timedelta(minutes=150))
        assert isinstance(await run.result(), Completed)


def test_such_a_program_does_not_hold_up_the_end_of_the_process() -> None:
    """When the interpreter ends, what it frees is closed, and has no loop to come to rest in."""
    code = """
import asyncio
from tests.engine.test_program_refusals import REFUSING
from wrkflw import StepTools, workflow
from wrkflw.testing import TestRuntime

async def main() -> None:
    async with TestRuntime():
        for number, code in enumerate(REFUSING):
            @workflow(id=f"refusing-{number}")
            async def refusing(step: StepTools, number: int) -> None:
                await code(step)
            await (await refusing.create_run()).start(1)

asyncio.run(main())
print("over")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "over\n"), ended.stderr
