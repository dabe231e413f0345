"""Keeping a runtime open as long as an application that serves it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from wrkflw.runtime import Runtime


def lifespan(rt: Runtime) -> Callable[[object], AbstractAsyncContextManager[None]]:
    """For the application that :func:`app` is mounted in, which never tells what is mounted that it begins or ends::

        site = FastAPI(lifespan=lifespan(rt))
        site.mount("/runs", app(rt))

    A runtime that is open already stays so.
    """

    @asynccontextmanager
    async def living(_: object) -> AsyncGenerator[None]:
        if rt.is_open:
            yield
        else:
            async with rt:
                yield

    return living
