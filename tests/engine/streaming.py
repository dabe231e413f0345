"""Workflows that write to streams, and readers of them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from wrkflw import Retry, Run, Runtime, StepContext, StreamItem, Workflow, create_workflow, step
from wrkflw.world.streamer import Chunk

AnyRun = Run[Any, Any, Any]
AnyFlow = Workflow[None, int, None]
Body = Callable[[StepContext], object]


def told(items: Sequence[StreamItem]) -> list[str]:
    """Items in a word each: the type of an event, the text of a chunk, ``reset KEY``."""
    return [word(item) for item in items]


def word(item: StreamItem) -> str:
    if item.kind == "event":
        assert item.event is not None
        return item.event.event_type.removeprefix("step_") if item.key else item.event.event_type
    return f"reset {item.key}" if item.kind == "reset" else (item.chunk or b"?").decode()


async def all_of(items: AsyncIterator[StreamItem]) -> list[StreamItem]:
    async with asyncio.timeout(20):
        return [item async for item in items]


async def texts(chunks: AsyncIterator[bytes]) -> list[str]:
    async with asyncio.timeout(20):
        return [chunk.decode() async for chunk in chunks]


class Following:
    """A reader at work beside the test."""

    def __init__(self, items: AsyncIterator[StreamItem]) -> None:
        self.items: list[StreamItem] = []
        self._more = asyncio.Event()
        self._task = asyncio.ensure_future(self._read(items))

    async def _read(self, items: AsyncIterator[StreamItem]) -> None:
        async for item in items:
            self.items.append(item)
            self._more.set()

    async def until(self, told: str) -> None:
        while told not in self.told:
            self._more.clear()
            await self._more.wait()

    def leave(self) -> None:
        self._task.cancel()

    @property
    def ended(self) -> bool:
        return self._task.done()

    @property
    def told(self) -> list[str]:
        return told(self.items)

    async def to_the_end(self) -> list[str]:
        async with asyncio.timeout(20):
            await self._task
        return self.told


def flow(*bodies: Any, id: str = "writing", **options: Any) -> AnyFlow:
    """A workflow of steps ``a``, ``b`` …, one after the other, of bodies that take the context alone."""
    builder: Any = create_workflow(id=id, input_schema=None, output_schema=int).map(lambda _: 0)
    for name, body in zip("abcdefgh", bodies, strict=False):
        builder = builder.then(written(name, body, **options))
    flow: AnyFlow = builder.commit()
    return flow


def written(name: str, body: Any, **options: Any) -> Any:
    if inspect.iscoroutinefunction(body):

        @step(id=name, **options)
        async def waits(data: int, ctx: StepContext) -> int:
            await body(ctx)
            return data + 1

        return waits

    @step(id=name, **options)
    def plain(data: int, ctx: StepContext) -> int:
        body(ctx)
        return data + 1

    return plain


def once(chunk: Any, **options: Any) -> Body:
    def body(ctx: StepContext) -> None:
        ctx.write(chunk, **options)

    return body


async def chunks_of(runtime: Runtime, run_id: str) -> list[Chunk]:
    return [item for item in await runtime.world.streamer.items(run_id) if isinstance(item, Chunk)]


class Drafting:
    """One step, ``draft``: writes the next of ``parts``, then does what ``then`` says."""

    def __init__(self, *, retry: Retry | None = None) -> None:
        self.go_on = asyncio.Event()
        self.failing = 0
        self.tries = 0
        options: Any = {} if retry is None else {"retry": retry}

        @step(**options)
        async def draft(data: None, ctx: StepContext) -> int:
            self.tries += 1
            ctx.write(f"{self.tries}-1")
            ctx.write(f"{self.tries}-2")
            if self.failing:
                self.failing -= 1
                raise OSError("not yet")
            await self.go_on.wait()
            ctx.write(f"{self.tries}-3")
            return self.tries

        self.workflow: Workflow[None, int, None] = (
            create_workflow(id="drafting", input_schema=None, output_schema=int).then(draft).commit()
        )
