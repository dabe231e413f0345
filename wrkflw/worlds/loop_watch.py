"""Whether the event loop moves: a body that blocks it keeps its lease, but all else of its process waits for it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType

_PARTS = 4
_OURS = (str(Path(__file__).parents[1]), str(Path(asyncio.__file__).parent))

_log = logging.getLogger("wrkflw")


class LoopWatch:
    """Of the running loop; it is looked at from another thread.  Within ``patience`` seconds it is to answer."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._answered = threading.Event()
        self._ended = False

    def look(self) -> None:
        """Ask the loop to answer, and say in the log where it stands when it does not."""
        self._answered.clear()
        if self._ended:
            return
        try:
            self._loop.call_soon_threadsafe(self._answered.set)
        except RuntimeError:  # it is closed
            return
        # In parts: a process that was stopped for a while, as a laptop is, finds only one of them over.
        if any(self._answered.wait(self._patience / _PARTS) for _ in range(_PARTS)):
            return
        frame = sys._current_frames().get(self._thread)  # pyright: ignore[reportPrivateUsage] -- documented all the same
        if frame is not None:
            _log.warning(
                "the event loop has not moved for %g s, it stands at %s: all other runs of this process wait; make the "
                "step a plain def, which gets a thread, or await asyncio.to_thread(...)\n%s",
                self._patience,
                _place(frame),
                "".join(traceback.format_stack(frame)).rstrip(),
            )

    def end(self) -> None:
        """The loop is about to wait for the thread that looks."""
        self._ended = True
        self._answered.set()


def _place(frame: FrameType) -> str:
    """The line of the body, or of whatever else the loop called: where it left this library, or asyncio."""
    while (back := frame.f_back) is not None and not back.f_code.co_filename.startswith(_OURS):
        frame = back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
