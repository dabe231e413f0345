"""Which runtime is the current one: that of the enclosing ``async with``, else the default one of this event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextvars import Context, ContextVar, Token, copy_context
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from .runtime import Runtime

Maker: TypeAlias = Callable[[], "Runtime"]

_entered: ContextVar[Runtime | None] = ContextVar("wrkflw_runtime", default=None)
# A task that was not started inside the ``async with``, such as a web server's, finds the runtime by its loop.
_open: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Runtime]] = WeakKeyDictionary()
_defaults: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Runtime]] = WeakKeyDictionary()


def _in_child() -> None:
    """In a forked child: the loops are the parent's."""
    _open.clear()
    _defaults.clear()
    _entered.set(None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def enter(runtime: Runtime) -> Token[Runtime | None]:
    """Make ``runtime`` the current one, here and for this loop."""
    _open.setdefault(asyncio.get_running_loop(), []).append(runtime)
    return _entered.set(runtime)


def leave(runtime: Runtime, token: Token[Runtime | None]) -> None:
    for runtimes in _open.values():  # perhaps on another loop than it was entered on
        if runtime in runtimes:
            runtimes.remove(runtime)
    try:
        _entered.reset(token)
    except ValueError:  # left in another task than it was entered in, as fixtures do
        _entered.set(None)


def entered() -> Runtime | None:
    """The runtime of the enclosing ``async with``, which may run on another thread's loop."""
    runtime = _entered.get()
    return runtime if runtime is not None and runtime.is_open else None


def within(runtime: Runtime) -> Context | None:
    """The context in which ``runtime`` is the current one, whoever asks for something to be done there.

    None where it is the current one already.
    """
    if _entered.get() is runtime:
        return None
    context = copy_context()
    context.run(_entered.set, runtime)
    return context


def standing_here() -> Runtime | None:
    """The runtime whose loop belongs to this thread, and stands still."""
    here = threading.get_ident()
    still = (loop for loop in [*_open] if not loop.is_running() and not loop.is_closed())
    return next(
        (
            runtime
            for loop in still
            for runtime in _open.get(loop, ())
            if runtime.is_open and runtime.loop_thread == here
        ),
        None,
    )


def open_on_other_threads() -> list[Runtime]:
    """The runtimes that code on this thread may mean, although it was not started within one."""
    here, open_ones = threading.get_ident(), [runtime for runtimes in [*_open.values()] for runtime in runtimes]
    return [each for each in open_ones if each.loop_thread != here and each.loop is not None and each.loop.is_running()]


def check_loop(home: asyncio.AbstractEventLoop | None) -> None:
    """Stop who reaches for a runtime from another event loop than ``home``, its own, before anything is recorded.

    Raises RuntimeError.  The code of a workflow is stopped by its own loop: what comes of that would be in no record.
    """
    loop = asyncio._get_running_loop()
    if loop is None or loop is home:
        return
    loop.call_soon_threadsafe(bool)  # that of a program refuses, and names the line; to others it is nothing
    if home is not None and home.is_running():
        raise RuntimeError(
            "the runtime was opened on another event loop; use it there, or from a thread without a loop by "
            "run_sync() and sync(), which find it"
        )


async def current_runtime(make_default: Maker) -> Runtime:
    """The current runtime.  The default one is opened when first asked for, and closed with its loop."""
    loop = asyncio.get_running_loop()
    runtime = entered()
    if runtime is not None and runtime.loop is loop:
        return runtime
    if here := _open.get(loop):
        return here[-1]
    opening = _defaults.get(loop)
    if opening is None:
        check_loop(None if runtime is None else runtime.loop)
        opening = _defaults[loop] = loop.create_task(_open_default(make_default))
        opening.add_done_callback(_forget_if_failed)
    return await asyncio.shield(opening)  # one who stops waiting for it does not stop it for the others


def _forget_if_failed(opening: asyncio.Task[Runtime]) -> None:
    loop = opening.get_loop()
    if (opening.cancelled() or opening.exception() is not None) and _defaults.get(loop) is opening:
        del _defaults[loop]


async def _open_default(make: Maker) -> Runtime:
    # A loop that ends closes the async generators that were begun on it: so the runtime is closed in good order.
    keeper = _keep(make)
    runtime = await anext(keeper)
    runtime.keeper = keeper
    return runtime


async def _keep(make: Maker) -> AsyncGenerator[Runtime, None]:
    runtime = make()
    await runtime.open()
    try:
        yield runtime
    finally:
        _defaults.pop(asyncio.get_running_loop(), None)
        await runtime.close()
