"""A body that blocks the event loop: everything else of its process waits, so it is named."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wrkflw import Runtime, create_workflow, step
from wrkflw.worlds.loop_watch import LoopWatch

LONGEST = 60.0
"""Seconds: who waits for so long has waited in vain."""


class Heard(logging.Handler):
    """What was logged, for a body that waits until it is."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.something = threading.Event()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        self.something.set()


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler, log = Heard(), logging.getLogger("wrkflw")
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


async def test_a_body_that_blocks_the_event_loop_is_named(tmp_path: Path, heard: Heard) -> None:
    @step
    async def block(_: int) -> bool:
        return heard.something.wait(LONGEST)

    blocking = create_workflow(id="blocking", input_schema=int, output_schema=bool).then(block).commit()
    async with Runtime(f"sqlite:///{tmp_path / 'app.db'}", lease="300ms"):
        assert await blocking.run(1)

    line = block.body.function.__code__.co_firstlineno + 2
    text = heard.texts[0]
    assert text.startswith(f"the event loop has not moved for 0.05 s, it stands at {__file__}:{line}: all other runs")
    assert "make the step a plain def, which gets a thread, or await asyncio.to_thread(...)" in text
    assert "return heard.something.wait(LONGEST)" in text


async def test_a_loop_that_moves_is_not_named(heard: Heard) -> None:
    await asyncio.to_thread(LoopWatch(LONGEST).look)

    assert heard.texts == []


async def test_a_loop_that_waits_for_the_thread_that_looks_is_not_named(heard: Heard) -> None:
    watch = LoopWatch(LONGEST)
    looking = threading.Thread(target=watch.look)
    looking.start()
    watch.end()
    looking.join(LONGEST / 2)

    assert not looking.is_alive()
    assert heard.texts == []


async def test_a_loop_that_is_closed_is_not_asked() -> None:
    other = asyncio.new_event_loop()
    watch = await asyncio.to_thread(other.run_until_complete, _made())
    other.close()

    watch.look()


async def _made() -> LoopWatch:
    return LoopWatch(LONGEST)
