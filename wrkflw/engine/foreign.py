"""What a program awaits that is not recorded, told in the program's own words: what it is, and on which line."""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
from collections.abc import Coroutine, Generator, Iterator
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Final, Protocol

_LIBRARIES: Final = tuple(
    {
        *(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        str(Path(__file__).resolve().parent.parent) + os.sep,  # wrkflw itself
        "<frozen ",
    }
)
_INNERMOST = 100  # frames looked at
_ENSURES: Final = ("ensure_future", "_ensure_future")


class Host(Protocol):
    """The loop, as the coroutines on it see it."""

    def is_own(self, future: object, /) -> bool:
        """Whether ``future`` belongs to this loop."""
        ...

    def refuse(self, what: str | None, frames: list[FrameType], /) -> asyncio.Future[Any]:
        """Note what is foreign; gives a future that never comes, to be awaited in its place."""
        ...

    def ended(self, coroutine: Watched, /) -> None:
        """``coroutine`` will not be sent anything more."""
        ...


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine of a program: whatever it waits for is looked at before the task is told."""

    __slots__ = ("__name__", "__qualname__", "__weakref__", "_coroutine", "_host")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], host: Host) -> None:
        self._coroutine = coroutine
        self._host = host
        self.__name__: str = getattr(coroutine, "__name__", type(coroutine).__name__)
        self.__qualname__: str = getattr(coroutine, "__qualname__", self.__name__)

    def send(self, value: Any, /) -> Any:
        try:
            awaited = self._coroutine.send(value)
        except BaseException:
            self._host.ended(self)
            raise
        return awaited if awaited is None or self._host.is_own(awaited) else self._refuse(awaited)

    def throw(
        self,
        error: Any,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
        /,
    ) -> Any:
        try:
            # One argument is all that asyncio passes; more are deprecated.
            awaited = self._coroutine.throw(error)
        except BaseException:
            self._host.ended(self)
            raise
        finally:
            del error  # as of Python 3.13 it leads back here, and on to itself
        return awaited if awaited is None or self._host.is_own(awaited) else self._refuse(awaited)

    def close(self) -> None:
        self._coroutine.close()
        self._host.ended(self)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    # What repr(task), task.get_stack() and debuggers look at.
    @property
    def cr_frame(self) -> FrameType | None:
        return getattr(self._coroutine, "cr_frame", None)

    @property
    def cr_code(self) -> CodeType | None:
        return getattr(self._coroutine, "cr_code", None)

    @property
    def cr_running(self) -> bool:
        return getattr(self._coroutine, "cr_running", False)

    @property
    def cr_await(self) -> object:
        return getattr(self._coroutine, "cr_await", None)

    def __repr__(self) -> str:
        return f"<program coroutine {self.__qualname__}>"

    def _refuse(self, awaited: object) -> asyncio.Future[Any]:
        if getattr(awaited, "_asyncio_future_blocking", False):
            awaited._asyncio_future_blocking = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue] -- it waits for us no more
        return self._host.refuse(_described(awaited), list(_suspended(self._coroutine)))


def told(what: str | None, frames: list[FrameType]) -> tuple[str, str]:
    """What is foreign, and where the program asks for it: ``httpx.AsyncClient.get()``, ``flows.py:17``.

    ``frames`` lead from the outermost inwards.  Where the program calls a library, that call is named; else ``what``.
    """
    entered = next((index for index, frame in enumerate(frames) if _is_library(frame)), len(frames))
    if entered and entered < len(frames):
        what = _called(frames[entered])
    elif entered == 0 and frames:  # a task made of a library's coroutine
        what = _called(frames[0])
    if not frames:
        return what or "something", "an unknown line"
    frame = frames[max(entered - 1, 0)]
    return what or "something", f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def running_frames() -> list[FrameType]:
    """The frames from the program's outermost to the one that called into the loop."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(2)  # pyright: ignore[reportPrivateUsage] -- inspect gives no frame further out
    while frame is not None and frame.f_code not in _ENTRIES and len(frames) < _INNERMOST:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def line_of_program() -> str | None:
    """The line of the program that is being executed, ``flows.py:17``; None where it is not known."""
    frames = running_frames()
    return told(None, frames)[1] if frames and not _is_library(frames[0]) else None


def line_of_waiting(task: asyncio.Task[Any]) -> str:
    """The line at which a task of a program waits."""
    return told(None, list(_suspended(task.get_coro())))[1]


_ENTRIES: Final = (Watched.send.__code__, Watched.throw.__code__, asyncio.Handle._run.__code__)


def _suspended(coroutine: object) -> Iterator[FrameType]:
    """The frames of a coroutine that waits, from the outermost inwards."""
    for _ in range(_INNERMOST):
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None or not (hasattr(coroutine, "cr_frame") or _is_library(frame)):
            return  # the end; or the generator of an __await__: the line that awaits it says more
        yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def _is_library(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_LIBRARIES)


def _called(frame: FrameType) -> str:
    """``asyncio.to_thread()`` for a frame of it."""
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    name = frame.f_code.co_qualname.removesuffix(".__call__").removesuffix(".__await__")
    return f"{package}.{name}()" if package else f"{name}()"


def _described(awaited: object) -> str:
    if isinstance(awaited, asyncio.Task):
        return f"task {awaited.get_name()!r} of another event loop"
    if asyncio.isfuture(awaited):
        return "a future of another event loop"
    kind = type(awaited)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def begins_in_no_order(coroutine: Coroutine[Any, Any, object]) -> bool:
    """Whether the loop's caller makes a task of it for ``asyncio.as_completed``, which takes them out of a set.

    One that ``step`` gave has its key already, and may begin when it likes.
    """
    frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage] -- the fastest way to know
    if frame.f_code.co_name not in _ENSURES:
        return False
    for _ in range(4):
        if frame.f_back is None or frame.f_globals.get("__name__") != "asyncio.tasks":
            return False
        if frame.f_code.co_name == "as_completed" or "_AsCompletedIterator" in frame.f_code.co_qualname:
            return getattr(getattr(coroutine, "cr_code", None), "co_name", "") != "result_of"
        frame = frame.f_back
    return False
