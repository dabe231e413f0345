"""Bodies under test: which are replaced, and which are under way."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

from wrkflw.bodies import Body
from wrkflw.clock import Clock
from wrkflw.engine.executor import Executable, Executor
from wrkflw.forms import classes_of
from wrkflw.steps import check_step


class Mocks:
    """What stands in for the bodies of steps."""

    def __init__(self) -> None:
        self._bodies: dict[tuple[str, int], tuple[Body, Body]] = {}
        """By the id of the step and the identity of its body, which is kept with it."""

    def set(self, step: object, result: object) -> None:
        """Raises TypeError for what has no body of its own."""
        found = check_step("mock()", step)
        if found.kind == "workflow":
            raise TypeError(f"mock() takes a step with a body, got workflow {found.id!r}; mock the steps in it")
        body = found.body
        self._bodies[found.id, id(body)] = (
            body,
            replace(body, function=_answering(result, found.stored_output_schema), is_async=True),
        )

    def body_of(self, step_id: str, body: Body) -> Body:
        """The one to execute."""
        _, instead = self._bodies.get((step_id, id(body)), (body, body))
        return instead


def _answering(result: object, output_schema: object) -> Callable[..., object]:
    classes = tuple(one for one in classes_of(output_schema) or () if one is not object)
    is_output = isinstance(result, classes)  # which may be callable as well

    async def answer(*given: object) -> object:
        if isinstance(result, BaseException) or _is_exception_class(result):
            raise cast("BaseException", result)
        if is_output or not callable(result):
            return result
        answered = result(*given)
        return await answered if inspect.isawaitable(answered) else answered

    return answer


def _is_exception_class(result: object) -> bool:
    return isinstance(result, type) and issubclass(result, BaseException)


@dataclass(eq=False, slots=True)
class UnderWay:
    """One try of a body that has not ended."""

    key: str
    may_hang: bool
    """Whether it has a timeout and can be cancelled: then it may wait for nothing but that."""
    ended: asyncio.Future[None]


class WatchedExecutor(Executor):
    """Knows which bodies are under way, and executes mocks in their place."""

    def __init__(self, clock: Clock, threads: int, mocks: Mocks) -> None:
        super().__init__(clock, threads)
        self._mocks = mocks
        self.under_way: set[UnderWay] = set()

    async def run(self, body: Body, value: object, call: Executable, timeout: timedelta | None) -> Any:
        body = self._mocks.body_of(call.step_id, body)
        ended = asyncio.get_running_loop().create_future()
        entry = UnderWay(call.key, timeout is not None and body.is_async, ended)
        self.under_way.add(entry)
        try:
            return await super().run(body, value, call, timeout)
        finally:
            self.under_way.discard(entry)
            ended.set_result(None)
