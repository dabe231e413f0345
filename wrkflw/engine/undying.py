"""Coroutines that do not end when they are cancelled: closed, and what refuses that as well is kept for ever."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import Any, cast

_ROUNDS = 5
"""How often one is closed."""


def end(coroutine: Coroutine[Any, Any, Any], task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop) -> None:
    """Close the coroutine of a task, as the task that runs on ``loop``.

    What of it does not end at all is never freed: it would go on then, with no loop to come to rest in.
    """
    parts = [*_parts_of(coroutine)]
    before = _enter(loop, task)
    try:
        for _ in range(_ROUNDS):
            with suppress(BaseException):  # "coroutine ignored GeneratorExit", or an error of its last words
                coroutine.close()
                break
    finally:
        _enter(loop, before)
    for part in parts:
        if getattr(part, "cr_frame", None) is not None:
            import ctypes  # noqa: PLC0415  # nothing else keeps an object beyond the end of the interpreter

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(part))


def _parts_of(coroutine: object) -> Iterator[object]:
    """It, the coroutine that it awaits, and so on."""
    while coroutine is not None:
        yield coroutine
        coroutine = getattr(coroutine, "cr_await", None)


def _enter(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> asyncio.Task[Any] | None:
    """Make it the current task of the loop.  Gives the one before."""
    tasks: Any = asyncio.tasks
    if sys.version_info >= (3, 12):
        return cast("asyncio.Task[Any] | None", tasks._swap_current_task(loop, task))
    before = asyncio.current_task(loop)
    if before is not None:
        tasks._leave_task(loop, before)
    if task is not None:
        tasks._enter_task(loop, task)
    return before
