"""The runs of a runtime, as a collection: find, look at, cancel, pause, delete, prune."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Never, TypeAlias, get_args

from .clock import Clock, earlier
from .durations import parse_duration
from .engine.definition import Definition
from .engine.journal import Journal
from .engine.overflow import ending_if_full
from .engine.views import info_of, snapshot_of
from .errors import InvalidValueError, RunFinishedError, RunNotFoundError
from .results import Page, RunInfo, RunStatus, Snapshot, WaitingFor
from .world.entities import Run as RunEntity
from .world.errors import EntityConflictError, WorkflowRunNotFoundError
from .world.events import RunCancelled, RunPaused, RunResumed, StoredEvent
from .world.storage import PageRequest, RunFilter, Storage

if TYPE_CHECKING:
    from .builder import Workflow

LONGEST_REASON = 512
_ENDS: tuple[RunStatus, ...] = ("completed", "failed", "cancelled")
_PAGE = 100
CancelOutcome: TypeAlias = Literal["cancelled", "finished", "not_found"]


class Runs:
    """``rt.runs``."""

    def __init__(self, storage: Callable[[], Storage], definitions: Mapping[str, Definition], clock: Clock) -> None:
        self._storage = storage
        self._definitions = definitions
        self._clock = clock

    async def list(
        self,
        *,
        workflow: str | Workflow[Never, object, Any] | None = None,
        status: RunStatus | Sequence[RunStatus] | None = None,
        waiting_for: WaitingFor | None = None,
        attributes: Mapping[str, str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[RunInfo]:
        """Newest first, up to 1,000 a page.  ``since`` (inclusive) and ``until`` are about the run's creation.

        An empty ``status`` list matches nothing.  Raises InvalidValueError for a status that no run has and for a time
        without a timezone, WorldError for a cursor that is not of this listing.
        """
        _check_moment("since=", since)
        _check_moment("until=", until)
        _check_status([status] if isinstance(status, str) else status or ())
        check_word("waiting_for=", () if waiting_for is None else [waiting_for], get_args(WaitingFor))
        where = RunFilter(
            workflow_name=_id_of(workflow),
            statuses=status,
            detail=waiting_for,
            attributes=attributes,
            since=since,
            until=until,
        )
        page = await self._storage().runs.list(where, page=PageRequest(limit, cursor))
        return Page(data=[info_of(run) for run in page.data], cursor=page.cursor, has_more=page.has_more)

    async def get(self, run_id: str) -> RunInfo:
        """Raises RunNotFoundError."""
        return info_of(await self.entity(run_id))

    async def snapshot(self, run_id: str) -> Snapshot:
        """The whole of the run as its log stands now.  Raises RunNotFoundError."""
        run = await self.entity(run_id)
        return snapshot_of(await self.journal(run_id), run, self._definitions.get(run.workflow_name))

    async def cancel(self, run_id: str, reason: str | None = None) -> bool:
        """Durable when it returns: True when the run is now, or was, cancelled; False when it had ended otherwise.

        Raises RunNotFoundError, and InvalidValueError for a ``reason`` that is none.
        """
        _check_reason(reason)
        try:
            await self._storage().events.create(run_id, RunCancelled(cancel_reason=reason), resolve_data="none")
        except WorkflowRunNotFoundError as error:
            raise RunNotFoundError(run_id) from error
        except EntityConflictError:
            return False
        return True

    async def cancel_many(self, run_ids: Sequence[str], reason: str | None = None) -> dict[str, CancelOutcome]:
        """An outcome for each id."""
        outcomes: dict[str, CancelOutcome] = {}
        for run_id in run_ids:
            try:
                outcomes[run_id] = "cancelled" if await self.cancel(run_id, reason) else "finished"
            except RunNotFoundError:
                outcomes[run_id] = "not_found"
        return outcomes

    async def pause(self, run_id: str, reason: str | None = None) -> None:
        """Durable when it returns: nothing more of the run starts until it is unpaused.

        Raises RunNotFoundError, RunFinishedError, LimitError, and InvalidValueError for a ``reason`` that is none.
        """
        _check_reason(reason)
        await self._record(run_id, RunPaused(reason=reason))

    async def unpause(self, run_id: str) -> None:
        """Durable when it returns: who has the code takes the run.

        Raises RunNotFoundError, RunFinishedError, LimitError.
        """
        await self._record(run_id, RunResumed())

    async def _record(self, run_id: str, event: RunPaused | RunResumed) -> None:
        try:
            async with ending_if_full(self._storage(), run_id):
                await self._storage().events.create(run_id, event, resolve_data="none")
        except WorkflowRunNotFoundError as error:
            raise RunNotFoundError(run_id) from error
        except EntityConflictError as error:
            raise RunFinishedError(run_id, (await self.entity(run_id)).status) from error

    async def delete(self, run_id: str) -> None:
        """Remove a run that has ended, and its log with it.

        Raises RunNotFoundError, or EntityConflictError while the run is open.
        """
        try:
            await self._storage().runs.delete(run_id)
        except WorkflowRunNotFoundError as error:
            raise RunNotFoundError(run_id) from error

    async def prune(
        self,
        older_than: timedelta | str,
        *,
        workflow: str | Workflow[Never, object, Any] | None = None,
        status: RunStatus | Sequence[RunStatus] | None = None,
    ) -> int:
        """Remove the runs that ended longer ago than that, and their logs with them; returns how many.

        Oldest first, one after another: those that are gone when it is interrupted stay so.
        Their idempotency keys are free then.

        Raises InvalidValueError for a ``status`` in which no run has ended, ValueError for what is no duration.
        """
        statuses: Sequence[RunStatus] = [status] if isinstance(status, str) else _ENDS if status is None else status
        check_word("status=", statuses, _ENDS)
        before = earlier(self._clock.now(), parse_duration(older_than, "prune what is older than"))
        where = RunFilter(workflow_name=_id_of(workflow), statuses=statuses, until=before)
        pruned = 0
        async for run in self._each(where):
            if run.completed_at is not None and run.completed_at < before:
                with suppress(WorkflowRunNotFoundError):  # somebody else prunes too
                    await self._storage().runs.delete(run.run_id)
                    pruned += 1
        return pruned

    async def _each(self, where: RunFilter) -> AsyncGenerator[RunEntity]:
        """Oldest first."""
        request = PageRequest(_PAGE, sort_order="asc")
        while True:
            page = await self._storage().runs.list(where, page=request)
            for run in page.data:
                yield run
            if not page.has_more:
                return
            request = request._replace(cursor=page.cursor)

    async def entity(self, run_id: str) -> RunEntity:
        try:
            return await self._storage().runs.get(run_id, resolve_data="none")
        except WorkflowRunNotFoundError as error:
            raise RunNotFoundError(run_id) from error

    async def located(self, run_id: str) -> RunEntity:
        """Where the run stands, without attributes and detail.  Raises RunNotFoundError."""
        try:
            return await self._storage().runs.locate(run_id)
        except WorkflowRunNotFoundError as error:
            raise RunNotFoundError(run_id) from error

    async def journal(self, run_id: str) -> Journal:
        return Journal.of(run_id, await self.log(run_id))

    async def log(self, run_id: str) -> Sequence[StoredEvent]:
        """All events of the run, in order.  Raises RunNotFoundError."""
        try:
            return (await self._storage().events.list(run_id)).data
        except WorkflowRunNotFoundError as error:
            raise RunNotFoundError(run_id) from error


def _id_of(workflow: str | Workflow[Never, object, Any] | None) -> str | None:
    return workflow if isinstance(workflow, str) or workflow is None else workflow.id


def _check_reason(reason: object) -> None:
    """Raises InvalidValueError unless it is a short text, or None."""
    if reason is not None and (not isinstance(reason, str) or len(reason) > LONGEST_REASON):
        problem = f"has {len(reason)} characters" if isinstance(reason, str) else f"cannot be {reason!r}"
        raise InvalidValueError.because("reason=", problem, cure=f"give a text of at most {LONGEST_REASON}")
    if isinstance(reason, str) and not is_text(reason):  # as the name of a file may be
        raise InvalidValueError.because("reason=", f"is no Unicode text: {reason[:80]!r}", cure="decode it")


def is_text(value: object) -> bool:
    """Whether it is a str that can be stored: names of files may hold what is no text."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_status(given: Sequence[object]) -> None:
    """Raises InvalidValueError for one that no run has: what a run waits for is told beside its status."""
    for one in given:
        if one in get_args(WaitingFor):
            raise InvalidValueError.because("status=", f"cannot be {one!r}", cure=f"give waiting_for={one!r}")
    check_word("status=", given, get_args(RunStatus))


def _check_moment(argument: str, moment: object) -> None:
    """Raises InvalidValueError unless it is a moment, or None."""
    if moment is None or (isinstance(moment, datetime) and moment.tzinfo is not None):
        return
    problem = "has no timezone" if isinstance(moment, datetime) else f"cannot be {moment!r}"
    raise InvalidValueError.because(argument, problem, cure="give a datetime with one, as datetime.now(UTC)")


def check_word(argument: str, given: Sequence[object], known: Sequence[str]) -> None:
    """Raises InvalidValueError for the first that is given and not known."""
    for one in given:
        if one not in known:
            cure = f"give {', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
            raise InvalidValueError.because(argument, f"cannot be {one!r}", cure=cure)
