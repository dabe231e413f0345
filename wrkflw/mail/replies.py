"""A mail that answers what a run has asked: which run, whether its sender may, and the answer itself."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from wrkflw.engine.definition import Definition
from wrkflw.engine.failures import text_of
from wrkflw.engine.journal import Journal
from wrkflw.engine.records import Record
from wrkflw.errors import (
    AlreadyResumedError,
    AmbiguousResumeError,
    DefinitionChangedError,
    DefinitionError,
    InvalidValueError,
    LimitError,
    NotSuspendedError,
    RunFinishedError,
    RunNotFoundError,
    UnknownEventError,
)
from wrkflw.events import Event
from wrkflw.runtime import Runtime
from wrkflw.triggers.email_routes import ReplyRoute, name_of
from wrkflw.triggers.emails import Email
from wrkflw.world.errors import EntityConflictError, HookNotFoundError

from .threads import Clue, mark_of, run_in, runs_named_by, tags_of
from .trust import refusal

_NOT_TAKEN = (
    AmbiguousResumeError,
    DefinitionChangedError,
    InvalidValueError,
    LimitError,
    RunFinishedError,
    RunNotFoundError,
    UnknownEventError,
)

_log = logging.getLogger("wrkflw")


class Asked(NamedTuple):
    """What a mail is a reply to."""

    run_id: str
    routes: Sequence[ReplyRoute]
    """Those of its workflow to which the mail came."""
    carrier: Sequence[str]
    """The headers that say so, as :class:`Clue` has them."""
    at: str | None = None
    """The key of the call that waits, where the mail names it."""


class Replies:
    def __init__(self, rt: Runtime, routes: Sequence[ReplyRoute]) -> None:
        """Raises DefinitionError for a route to what its workflow never waits for."""
        self._rt = rt
        self._routes = routes
        for route in routes:
            _check_waits(rt.definitions[route.workflow.id], route)

    async def asked(self, mail: Email) -> Asked | None:
        """What the mail is a reply to; None when it is none, or came to no address for replies."""
        routes = [route for route in self._routes if any(map(route.address.receives, mail.envelope_to))]
        if not routes:
            return None
        for clue in tags_of(mail):
            found = await self._by_token(clue, routes) or await self._of_run(run_in(clue.text), routes, clue.carrier)
            if found is not None:
                return found
        for clue in runs_named_by(mail):
            if (found := await self._of_run(clue.text, routes, clue.carrier)) is not None:
                return await self._at(found, partial(_has_sent, clue)) or found
        return None

    async def _by_token(self, clue: Clue, routes: Sequence[ReplyRoute]) -> Asked | None:
        try:
            hook = await self._rt.world.storage.hooks.get_by_token(clue.text, resolve_data="none")
        except HookNotFoundError:
            return None
        if (found := await self._of_run(hook.run_id, routes, clue.carrier)) is None:
            return None
        return await self._at(found, lambda record: hook.hook_id in [one.hook_id for one in record.suspensions[-1:]])

    async def _at(self, asked: Asked, is_it: Callable[[Record], bool]) -> Asked | None:
        """The same at the call that is meant; None when no route is for that."""
        journal = await self._rt.runs.journal(asked.run_id)
        for record in journal.records.values():
            if is_it(record) and (fitting := [one for one in asked.routes if name_of(one.target) == record.name]):
                return asked._replace(routes=fitting, at=record.key)
        return None

    async def _of_run(self, run_id: str, routes: Sequence[ReplyRoute], carrier: Sequence[str]) -> Asked | None:
        try:
            run = await self._rt.runs.located(run_id)
        except RunNotFoundError:
            return None
        fitting = [route for route in routes if route.workflow.id == run.workflow_name]
        return Asked(run_id, fitting, carrier) if fitting else None

    async def answer(self, asked: Asked, mail: Email, dedupe_id: str, *, trusted: bool) -> str | None:
        """Hand the mail in, once.  Why it was not taken, if it was not.  Durable when it returns.

        ``trusted`` when a person has said that the sender may.
        """
        definition = self._rt.definitions[asked.routes[0].workflow.id]
        if await self._was_taken(definition, asked, dedupe_id):
            return None
        route = await self._route_that_waits(asked)
        if not trusted and (problem := _refusal(asked, route, mail)) is not None:
            return problem
        try:
            data = route.answer(mail)
        except (Exception, CancelledError) as error:  # a function of the user's  # noqa: BLE001
            _log.warning("a reply to run %s makes no answer", asked.run_id, exc_info=error)
            return f"it makes no answer to {name_of(route.target)!r}: {type(error).__name__}: {text_of(error)[:200]}"
        try:
            return await self._hand_in(definition, asked, route, data, dedupe_id)
        except _NOT_TAKEN as error:
            return text_of(error)[:500]
        except EntityConflictError:
            return "another mail of its Message-ID was taken before"

    async def _was_taken(self, definition: Definition, asked: Asked, dedupe_id: str) -> bool:
        """Whether one of several steps was answered by the mail before: what waits now is another."""
        inbox = self._rt.inbox_of(definition)
        for route in asked.routes if len(asked.routes) > 1 else ():
            if isinstance(route.target, Event):
                continue
            if await inbox.was_answered_by(asked.run_id, route.target, dedupe_id):
                return True
        return False

    async def _hand_in(
        self, definition: Definition, asked: Asked, route: ReplyRoute, data: Any, dedupe_id: str
    ) -> str | None:
        inbox = self._rt.inbox_of(definition)
        if isinstance(route.target, Event):
            await inbox.send(asked.run_id, route.target, data, dedupe_id)
            return None
        try:
            await inbox.answer(Journal(asked.run_id), route.target, data, asked.at, dedupe_id)
        except (NotSuspendedError, AlreadyResumedError) as error:
            if not await inbox.was_answered_by(asked.run_id, route.target, dedupe_id):
                return str(error)[:500]
        return None

    async def _route_that_waits(self, asked: Asked) -> ReplyRoute:
        """Of several, that of a step which is suspended, else the first that is an event."""
        if len(asked.routes) == 1:
            return asked.routes[0]
        records = (await self._rt.runs.journal(asked.run_id)).records.values()
        waiting = {record.name for record in records if record.suspension is not None}
        steps = [route for route in asked.routes if name_of(route.target) in waiting]
        events = [route for route in asked.routes if isinstance(route.target, Event)]
        return (steps + events + [*asked.routes])[0]


def _has_sent(clue: Clue, record: Record) -> bool:
    return mark_of(record.key) == clue.mark


def _check_waits(definition: Definition, route: ReplyRoute) -> None:
    kind = "event" if isinstance(route.target, Event) else "step"
    waits = definition.events if kind == "event" else _steps_of(definition)
    if not definition.has_code and name_of(route.target) not in waits:
        never = f"workflow {definition.id!r} has no {kind} {name_of(route.target)!r} that a reply could be for"
        raise DefinitionError(f"{never}; give the route to the workflow that waits for it")


def _steps_of(definition: Definition) -> set[str]:
    nested = [definition.nested(step) for step in definition.steps.values() if step.kind == "workflow"]
    return set(definition.steps).union(*map(_steps_of, nested))


def _refusal(asked: Asked, route: ReplyRoute, mail: Email) -> str | None:
    """Why the sender may not answer; None when it may."""
    if (problem := refusal(mail, route.senders, asked.carrier)) is not None:
        return problem
    if mail.authentication.method == "dkim" and not asked.carrier:
        return "it was signed for other recipients than those that it was sent to"
    return None
