"""What the code of a workflow can ask for: the engine's side of ``step``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

from wrkflw.errors import StepFailedError, WaitTimeoutError
from wrkflw.graph import MISSING, AnyEvent, AnyStep
from wrkflw.ids import correlation_id
from wrkflw.retries import Retry
from wrkflw.schemas import Schema, schema_of
from wrkflw.world import events as e

from . import failures
from .arguments import Doing
from .asked import PATCH
from .definition import Plan
from .operations import PLAIN, Operation, Wanted, called, planned, written
from .program import Program
from .records import Record, WaitRecord
from .values import Flow, Settled
from .waiting import after, begin_wait, wait_on


class Chance(Random):
    """Chance for the code alone: a replay calls no bodies, so what they took of it would be missing there."""

    check: Callable[[], None]
    """Raises when it is not the code that asks."""

    def random(self) -> float:
        self.check()
        return super().random()

    def getrandbits(self, k: int, /) -> int:
        self.check()
        return super().getrandbits(k)


class Tools:
    """Each call is numbered when it is made, and begins when somebody waits for it."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._drive = program.drive
        seed = f"{program.drive.journal.seed}/{program.scope.prefix}"
        self._random, self._uuids = Chance(seed), Random(f"{seed}uuid")
        self._random.check = partial(_check_inside, program, "step.random()")
        self._unpatched: set[str] = set()
        """The patches that this run does without."""

    @property
    def run_id(self) -> str:
        return self._drive.run_id

    def do(
        self,
        name: str,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        retry: Retry | None,
        timeout: timedelta | None,
        /,
    ) -> Coroutine[Any, Any, object]:
        doing, limit = Doing(name, function), self._drive.services.limits.value_bytes
        data = written(doing, args, kwargs, limit, self._program.asked.ended_before(name))
        plan = partial(called, name, doing, data, retry, timeout)  # of what is long since over nobody asks for it
        return self._step("do", name, Wanted("step", name, data, PLAIN), plan, doing.result)

    def run(
        self, step: AnyStep, data: object, name: str, retry: Retry | None, timeout: timedelta | None, /
    ) -> Coroutine[Any, Any, object]:
        plan, flow = planned(self._drive, self._program.scope.definition, step, data, retry, timeout)
        wanted = Wanted("workflow" if plan.body is None else "step", plan.step.id, flow.data, plan.input)
        return self._step("run", name, wanted, lambda: (plan, flow), plan.output)

    def _step(
        self, verb: str, name: str, wanted: Wanted, plan: Callable[[], tuple[Plan, Flow]], output: Schema
    ) -> Coroutine[Any, Any, object]:
        begin, read = partial(self._begin, plan), partial(self._read, output)
        return self._result(verb, self._program.ask(name, wanted, begin, read))

    def _begin(self, plan: Callable[[], tuple[Plan, Flow]], key: str) -> Coroutine[Any, Any, Flow]:
        how, flow = plan()
        return self._program.interpreter.call_planned(self._program.scope, how, key, flow)

    def _read(self, output: Schema, record: Record) -> object:
        if not record.succeeded:
            error = failures.load(record.error)
            assert error is not None
            raise StepFailedError(error)
        if record.output is None:
            return None
        return self._drive.load(output, record.output, record.key, "output of step")

    def sleep_for(self, name: str, duration: timedelta, /) -> Coroutine[Any, Any, None]:
        return self._sleep("sleep", name, lambda: after(self._drive, duration))

    def sleep_until(self, name: str, when: datetime, /) -> Coroutine[Any, Any, None]:
        return self._sleep("sleep_until", name, lambda: when)

    def _sleep(self, verb: str, name: str, until: Callable[[], datetime]) -> Coroutine[Any, Any, None]:
        program = self._program
        return self._result(verb, program.ask(name, Wanted("sleep"), program.sleeping(until), lambda _: None))

    def wait(self, event: AnyEvent, timeout: timedelta | None, default: object, /) -> Coroutine[Any, Any, object]:
        program, drive, schema = self._program, self._drive, schema_of(event.schema)
        wanted = Wanted("event", event.name, has_timeout=timeout is not None)

        async def begin(key: str) -> Flow:
            if key not in drive.journal.waits:
                drive.go_on(program.scope.lane)
                begin_wait(drive, key, event, timeout)
            return await wait_on(drive, key, event, timeout, default)

        def read(wait: WaitRecord) -> object:
            if wait.payload is not None:
                return drive.load(schema, wait.payload, wait.key, "event at")
            if default is MISSING:
                raise WaitTimeoutError(event.name, timeout or timedelta())
            return Settled(default).fresh()

        return self._result("wait_for_event", program.ask(event.name, wanted, begin, read))

    def _result(self, verb: str, operation: Operation) -> Coroutine[Any, Any, Any]:
        result = self._program.result_of(operation)
        named: Any = result
        named.__qualname__ = f'step.{verb}("{operation.key}")'  # as Python's warning calls it, if nobody awaits it
        return result

    def now(self) -> datetime:
        _check_inside(self._program, "step.now()")
        return self._program.now

    def random(self) -> Random:
        return self._random

    def uuid(self) -> UUID:
        _check_inside(self._program, "step.uuid()")
        return UUID(int=self._uuids.getrandbits(128), version=4)

    def patched(self, id: str, /) -> bool:
        self._program.check_inside(f"patch {id!r}", "ask for it in the workflow itself")
        key = self._program.scope.key_of(f"{PATCH}{id}")
        recorder = self._drive.recorder
        if key in self._unpatched:  # a run that was past its first use does not take it later, say in a loop
            return False
        if key in recorder.journal.records:
            return True
        if self._program.asked.is_behind or self._program.is_over:
            self._unpatched.add(key)
            return False
        name = correlation_id("step", self.run_id, key)
        about: e.Meta = {"kind": "patch"}
        recorder.note(e.StepCreated(correlation_id=name, step_name=f"{PATCH}{id}", key=key, meta=about))
        recorder.note(e.StepCompleted(correlation_id=name))
        return True


def _check_inside(program: Program, what: str) -> None:
    program.check_inside(what, "ask for it in the workflow itself, and hand it in")
