"""The garbage collector, put off while thousands of things are made that stay."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def collecting_later() -> Generator[None]:
    """Put it off, for the whole process, for a moment in which nothing that is made is garbage.

    To look for some among thousands of new objects, again and again, takes as long as to make them.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
