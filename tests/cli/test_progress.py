"""A run as it is shown while it goes on."""

from __future__ import annotations

from tests.clocks import ManualClock, settle
from wrkflw import Retry, Runtime, SuspendContext, create_workflow, step
from wrkflw.cli.progress import Progress


async def test_tries_are_counted_that_failed_and_not_those_that_were_left_for_an_answer() -> None:
    calls = 0

    @step(retry=Retry(attempts=2, delay="1h", jitter=0))
    async def ask(name: str, ctx: SuspendContext[int, str]) -> int:
        nonlocal calls
        calls += 1
        if calls in (1, 3):
            raise ValueError("nobody is there")
        return ctx.suspend(f"may I greet {name}?")

    asking = create_workflow(id="asking", input_schema=str, output_schema=int).then(ask).commit()
    clock = ManualClock()
    progress = Progress()
    async with Runtime(":memory:", workflows=[asking], clock=clock):
        run = await (await asking.create_run()).enqueue("Ada")

        async def shown() -> tuple[str, int]:
            await settle()
            async for item in run.stream(progress.cursor, until="parked"):
                progress.hear(item)
            [row] = progress.rows.values()
            return row.state, row.attempt

        assert await shown() == ("retrying", 1)
        clock.turn("1h")
        assert await shown() == ("suspended", 2)
        await run.resume(ask, 1, wait="0s")
        assert await shown() == ("retrying", 1)
        clock.turn("1h")
        assert await shown() == ("completed", 2)
