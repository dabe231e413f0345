"""Steps for tests of what runs side by side: they tell that they were called, and wait until they are let go."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from wrkflw import Retry, Run, Runtime, StepContext, SuspendContext, Suspended, create_workflow, step

HOUR = Retry(attempts=2, delay="1h", max_delay="1h", jitter=0)
"""One more try, an hour later."""


class Desk:
    """``calls`` are the keys of the bodies that were called, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.stopped: list[str] = []
        """The keys of those that saw that they should stop."""
        self._gates: dict[str, asyncio.Event] = {}

    def gate(self, key: str) -> asyncio.Event:
        return self._gates.setdefault(key, asyncio.Event())

    def let(self, *keys: str) -> None:
        """Let these bodies go on, now or when they come to it."""
        for key in keys:
            self.gate(key).set()

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.calls)

    def quick(self, id: str, plus: int = 1) -> Any:
        """Gives its input and one."""

        @step(id=id)
        async def body(data: int, ctx: StepContext) -> int:
            self.calls.append(ctx.key)
            return data + plus

        return body

    def slow(self, id: str, plus: int = 1) -> Any:
        """Gives its input and one, once it is let go."""

        @step(id=id)
        async def body(data: int, ctx: StepContext) -> int:
            self.calls.append(ctx.key)
            await self.gate(ctx.key).wait()
            if ctx.stopping:
                self.stopped.append(ctx.key)
            return data + plus

        return body

    def failing(self, id: str) -> Any:
        """Raises at once."""

        @step(id=id)
        async def body(data: int, ctx: StepContext) -> int:
            self.calls.append(ctx.key)
            raise OSError(f"{ctx.key} is down")

        return body

    def slow_to_fail(self, id: str) -> Any:
        """Raises once it is let go."""

        @step(id=id)
        async def body(data: int, ctx: StepContext) -> int:
            self.calls.append(ctx.key)
            await self.gate(ctx.key).wait()
            raise OSError(f"{ctx.key} is down")

        return body

    def stumbling(self, id: str) -> Any:
        """Raises at the first try; the second is an hour later."""

        @step(id=id, retry=HOUR)
        async def body(data: int, ctx: StepContext) -> int:
            self.calls.append(ctx.key)
            if ctx.attempt == 1:
                raise OSError(f"{ctx.key} is not yet up")
            return data + 1

        return body

    def asking(self, id: str) -> Any:
        """Gives its input and the answer to ``key?``."""

        @step(id=id)
        async def body(data: int, ctx: SuspendContext[int, str]) -> int:
            self.calls.append(ctx.key)
            return data + ctx.suspend(f"{ctx.key}?")

        return body

    def bailing(self, id: str, output: Any = -1) -> Any:
        """Ends its workflow."""

        @step(id=id)
        async def body(data: int, ctx: StepContext) -> int:
            self.calls.append(ctx.key)
            ctx.bail(output)

        return body

    def slow_to_bail(self, id: str, output: Any = -1) -> Any:
        """Ends its workflow once it is let go."""

        @step(id=id)
        async def body(data: int, ctx: StepContext) -> int:
            self.calls.append(ctx.key)
            await self.gate(ctx.key).wait()
            ctx.bail(output)

        return body


def chain(id: str = "flow", takes: Any = int, gives: Any = int, **options: Any) -> Any:
    """A builder that the type checker knows nothing of: these tests put chains together from parts."""
    return create_workflow(id=id, input_schema=takes, output_schema=gives, **options)


def total(*values: int) -> int:
    return sum(values)


def open_keys(result: Any) -> list[str]:
    """Where a run waits for an answer."""
    assert isinstance(result, Suspended), result
    return [suspension.key for suspension in result.suspensions]


async def statuses(run: Run[Any, Any, Any]) -> dict[str, str]:
    """The steps of a run, and where each stands."""
    return {key: each.status for key, each in (await run.snapshot()).step_results.items()}


async def types(run: Run[Any, Any, Any]) -> list[str]:
    """The log of a run, by the types of its events."""
    return [str(stored.event.event_type) async for stored in run.events()]


async def called(desk: Desk, key: str) -> None:
    """Let the loop run until a body was called."""
    for _ in range(2000):
        if key in desk.calls:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{key} was not called")


async def recorded(run: Run[Any, Any, Any], type: str, times: int = 1) -> None:
    """Let the loop run until the log holds so many events of this type."""
    for _ in range(2000):
        if (await types(run)).count(type) >= times:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{type} was not recorded")


def assert_nothing_moves(runtime: Runtime, run: Run[Any, Any, Any]) -> None:
    """A parked run holds no task here."""
    assert runtime.driver.drive_of(run.run_id) is None
