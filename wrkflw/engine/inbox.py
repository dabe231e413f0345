"""What the outside hands in to a run: answers to suspensions, events, the end of a sleep."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from wrkflw.errors import (
    AlreadyResumedError,
    AmbiguousResumeError,
    DefinitionChangedError,
    NotSuspendedError,
    RunFinishedError,
    RunNotFoundError,
    StepNotRunError,
    UnknownEventError,
)
from wrkflw.graph import AnyEvent
from wrkflw.schemas import schema_of
from wrkflw.world import events as e
from wrkflw.world.errors import (
    EntityConflictError,
    HookNotFoundError,
    RunExpiredError,
    WorkflowRunNotFoundError,
    WorldError,
)
from wrkflw.world.storage import Storage

from .definition import AnyStep, Definition
from .driver import Driver
from .journal import Journal
from .keys import scope_of
from .records import Record, SuspensionRecord
from .values import stored

if TYPE_CHECKING:
    from .limits import Limits


_OVER = frozenset({404, 409})
"""How the World refuses to end a sleep that is over already, or whose run is."""


class Inbox:
    """Of the runs of one workflow."""

    def __init__(self, storage: Storage, driver: Driver, definition: Definition, limits: Limits) -> None:
        self._storage = storage
        self._driver = driver
        self._definition = definition
        self._limits = limits

    async def answer(
        self, seen: Journal, step: AnyStep, data: object, at: str | None, dedupe_id: str | None = None
    ) -> None:
        """Answer a suspension.  ``seen`` is how the run was when somebody looked last; it may have moved on.

        ``dedupe_id`` names what the answer came with, see :meth:`was_answered_by`.

        Raises InvalidValueError, NotSuspendedError, AlreadyResumedError, AmbiguousResumeError, DefinitionChangedError,
        RunNotFoundError, LimitError; nothing is recorded then.
        """
        try:
            record, asked = _open(seen, step, at)
        except (NotSuspendedError, AlreadyResumedError, AmbiguousResumeError):
            record, asked = _open(await self._read(seen.run_id), step, at)
        try:
            await self._answer(seen.run_id, step, record, asked, data, dedupe_id)
        except (HookNotFoundError, EntityConflictError, RunExpiredError) as refusal:  # somebody was faster
            now = await self._read(seen.run_id)
            answered_at = now.answered_at(asked.hook_id)
            if now.ended:
                raise NotSuspendedError.ended(seen.run_id, at or step.id, now.status) from refusal
            if answered_at is None:
                raise NotSuspendedError.moved_on(seen.run_id, record.key, now.suspended_keys()) from refusal
            raise AlreadyResumedError(seen.run_id, record.key, answered_at) from refusal

    async def was_answered_by(self, run_id: str, step: AnyStep, dedupe_id: str) -> bool:
        """Whether a suspension of the step was answered under this ``dedupe_id``.  Raises RunNotFoundError.

        The same answer is handed in again: the hook is over, so that nothing is recorded.  It is refused unless it is
        known by its ``dedupe_id``.
        """
        for record in (await self._read(run_id)).records.values():
            for asked in record.suspensions if record.name == step.id else ():
                if asked.answer is None:
                    continue
                again = e.HookReceived(correlation_id=asked.hook_id, token=asked.token, payload_data=asked.answer)
                try:
                    await self._storage.events.create(run_id, again, resume_id=dedupe_id, resolve_data="none")
                except (HookNotFoundError, EntityConflictError, RunExpiredError):
                    continue
                return True
        return False

    def _answer(
        self,
        run_id: str,
        step: AnyStep,
        record: Record,
        asked: SuspensionRecord,
        data: object,
        dedupe_id: str | None,
    ) -> Coroutine[Any, Any, None]:
        inner = self._definition.within(scope_of(record.key))
        known = step
        if inner is not None and not inner.is_code:
            if record.name not in inner.steps:
                raise DefinitionChangedError(run_id, record.key, self._definition.id)
            known = inner.steps[record.name]
        what, schema = f"answer to step {record.key!r}", schema_of(known.body.resume)
        payload = stored(schema, schema.validate(data, what), what, self._limits.value_bytes).data
        event = e.HookReceived(correlation_id=asked.hook_id, token=asked.token, payload_data=payload)
        return self._driver.deliver(run_id, self._definition, event, dedupe_id)

    async def send(self, run_id: str, event: AnyEvent, payload: object, dedupe_id: str | None) -> None:
        """Hand in an event; which wait takes it is decided by the log.

        Raises InvalidValueError, UnknownEventError, RunFinishedError, RunNotFoundError, LimitError, EntityConflictError
        when the ``dedupe_id`` came with something else before; nothing is recorded then.
        """
        definition = self._definition
        if event.name not in definition.events and not definition.has_code:
            raise UnknownEventError(definition.id, event.name, definition.events)
        # The workflow's own: somebody may have made another event of that name.
        what, schema = f"payload of event {event.name!r}", definition.events.get(event.name, schema_of(event.schema))
        data = stored(schema, schema.validate(payload, what), what, self._limits.value_bytes).data
        signal = e.SignalReceived(signal_type=event.name, payload_data=data)
        try:
            await self._driver.deliver(run_id, definition, signal, dedupe_id)
        except WorkflowRunNotFoundError as error:
            raise RunNotFoundError(run_id) from error
        except RunExpiredError as error:
            raise RunFinishedError(run_id, error.run_status, "events are taken by open runs only") from error

    async def wake(self, run_id: str, key: str | None) -> None:
        """End one sleep, or all of them, now.

        Raises RunFinishedError, RunNotFoundError, StepNotRunError, LimitError.
        """
        journal = await self._read(run_id)
        if journal.ended:
            raise RunFinishedError(run_id, journal.status)
        sleeps = [wait for wait in journal.waits.values() if wait.kind == "sleep"]
        if key is not None and all(wait.key != key for wait in sleeps):
            raise StepNotRunError.no_sleep(run_id, key, [wait.key for wait in sleeps if wait.open])
        for wait in sleeps:
            if wait.open and key in (None, wait.key):
                try:
                    await self._driver.deliver(
                        run_id, self._definition, e.WaitCompleted(correlation_id=wait.wait_id, cause="woken")
                    )
                except WorldError as refusal:
                    if refusal.status not in _OVER:
                        raise

    async def _read(self, run_id: str) -> Journal:
        try:
            return Journal.of(run_id, (await self._storage.events.list(run_id)).data)
        except WorkflowRunNotFoundError as error:
            raise RunNotFoundError(run_id) from error


def _open(journal: Journal, step: AnyStep, at: str | None) -> tuple[Record, SuspensionRecord]:
    """The suspension that an answer is for.  Raises NotSuspendedError, AlreadyResumedError, AmbiguousResumeError."""
    calls = [record for record in journal.records.values() if record.name == step.id and at in (None, record.key)]
    open_ones = [(record, asked) for record in calls if (asked := record.suspension) is not None]
    if journal.ended:
        raise NotSuspendedError.ended(journal.run_id, at or step.id, journal.status)
    if not open_ones:
        answered = [record for record in calls if record.suspensions and record.suspensions[-1].answer is not None]
        last = answered[-1].suspensions[-1].answered_at if answered else None
        if last is not None:
            raise AlreadyResumedError(journal.run_id, answered[-1].key, last)
        if at is not None and (other := journal.records.get(at)) is not None and other.name != step.id:
            raise NotSuspendedError.of_another(journal.run_id, step.id, at, journal.suspended_keys())
        raise NotSuspendedError(journal.run_id, at or step.id, journal.suspended_keys())
    if len(open_ones) > 1:
        raise AmbiguousResumeError(step.id, [record.key for record, _ in open_ones])
    return open_ones[0]
