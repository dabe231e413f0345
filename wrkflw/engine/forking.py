"""What a fork takes over of the run it is made of: the record of what stands before the point where it begins.

A run that has been forked is never touched: its log is read, and what is taken over is written anew, under the ids of
the new run.  In a graph the place of a call decides; in the code of a program, of which only the record is known, what
was recorded before the point does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias, cast

from wrkflw.errors import AmbiguousResumeError, InvalidValueError, UnknownStepError
from wrkflw.graph import MISSING, AnyStep, WaitForEvent
from wrkflw.ids import correlation_id
from wrkflw.world import events as e

from .definition import Definition
from .fitting import misfit
from .journal import Journal
from .keys import id_of, scope_of
from .points import EVER, Point, prefix_of, steps_in
from .records import Record, WaitRecord
from .states import rebased, rules_of, state_before

_BEGINNINGS = (e.StepCreated, e.WaitCreated)
_ENDS = (e.StepCompleted, e.StepFailed)

Part: TypeAlias = Literal["whole", "begun", "nothing"]
"""How much of a call is taken over."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the new run gets instead of what was recorded.  Values are as they are stored."""

    outputs: Mapping[str, tuple[AnyStep, bytes]] = field(default_factory=dict[str, "tuple[AnyStep, bytes]"])
    """By step id."""
    state: object = MISSING
    """As JSON values."""
    input: bytes | None = None


class Forking:
    """One run, to be forked at a step, at a key, or where it failed or stands."""

    def __init__(
        self,
        definition: Definition,
        run_id: str,
        log: Sequence[e.StoredEvent],
        at: AnyStep | None,
        key: str | None,
        given: Given,
    ) -> None:
        self._definition = definition
        self._run_id = run_id
        self._journal = Journal.of(run_id, log)
        self._birth = log[0].event
        self._created = {_key_of(stored.event): stored for stored in log if isinstance(stored.event, _BEGINNINGS)}
        self._ends = {stored.correlation_id: stored.event for stored in log if isinstance(stored.event, _ENDS)}
        self._given = given
        slots = {key: stored.slot for key, stored in self._created.items()}
        self._point = Point(definition, self._journal, slots, at, key)
        self._places = {key: self._point.place_of(key) for key in self._created}
        self._outputs = {self._key_of_output(step): data for step, data in given.outputs.values()}

    def events(self, new_id: str, now: datetime) -> tuple[e.RunCreated, list[e.NewEvent]]:
        """The creation of the new run, and the record that it begins with.

        Raises DefinitionChangedError when the record does not fit the workflow as it is now.
        """
        created = self._creation()
        taken = sorted(self._taken(new_id, now), key=lambda one: one[:2])
        record = [event for _, _, event in taken]
        journal = Journal(self._run_id)
        for event in (created, *record):
            journal.add(event)
        if (changed := misfit(self._definition, journal)) is not None:
            raise changed
        return created, record

    # --- how much ----------------------------------------------------------------------------------

    def _part(self, key: str) -> Part:
        place, record = self._places[key], self._record(key)
        if place in ("around", "after"):
            return "begun" if place == "around" else "nothing"
        common = _common(key, self._point.key)
        if self._point.graph_of(common) is None:
            # A replay goes through all that was asked for by then: what was open is asked for again.
            return "whole" if self._was_told(record) else "begun"
        inside = key[len(common) :].split("/")[:-1]
        for length in range(1, len(inside) + 1):
            outer = self._journal.records[(common + prefix_of(inside[:length])).removesuffix("/")]
            if outer.succeeded:
                return "whole" if _has_outcome(record) else "nothing"
            if place == "before" or self._point.graph_of(f"{outer.key}/") is None:
                return "nothing"
        if isinstance(record, WaitRecord):
            return "whole" if self._is_over(record) else "nothing"
        if record.succeeded:
            return "whole"
        is_graph = record.kind == "workflow" and self._point.graph_of(f"{key}/") is not None
        return "begun" if is_graph and place == "beside" else "nothing"

    def _was_told(self, record: Record | WaitRecord) -> bool:
        """Whether a program knew at the point how this ended; or may, where it is to go on after a failure."""
        if isinstance(record, Record) and record.status == "cancelled":
            return False  # by the end of what it stood in
        told = record.ended is not None and record.ended < self._point.limit
        return told or (self._point.retries and isinstance(record, Record) and record.succeeded)

    def _record(self, key: str) -> Record | WaitRecord:
        return self._journal.records.get(key) or self._journal.waits[key]

    def _is_over(self, wait: WaitRecord) -> bool:
        """Whether a wait in a graph let the run go on."""
        if wait.cause == "timeout":
            graph = self._point.graph_of(scope_of(wait.key))
            position = None if graph is None else graph.positions.get(id_of(wait.key))
            node = None if graph is None or position is None else graph.nodes[position]
            return isinstance(node, WaitForEvent) and node.default is not MISSING
        return wait.ended is not None and wait.cause != "cancelled"

    # --- other outputs -----------------------------------------------------------------------------

    def _key_of_output(self, step: AnyStep) -> str:
        """The call that is to have another output: the point itself, or one before it.

        Raises UnknownStepError, AmbiguousResumeError, InvalidValueError for a step that does not precede the point.
        """
        point = self._journal.records.get(self._point.key)
        if point is not None and point.name == step.id:
            return self._point.key
        parts = self._point.key.split("/")
        for length in reversed(range(len(parts))):
            prefix = prefix_of(parts[:length])
            found = [
                record.key
                for record in self._journal.records.values()
                if record.name == step.id
                and scope_of(record.key) == prefix
                and self._places[record.key] == "before"
                and self._part(record.key) == "whole"
            ]
            if found and self._point.graph_of(prefix) is not None and "#" in found[-1]:
                return found[-1]  # what a loop gave is what its last iteration gave
            if len(found) > 1:
                raise AmbiguousResumeError.gave_often(step.id, found)
            if found:
                return found[0]
        known = steps_in(self._definition)
        if step.id not in known and not self._definition.has_code:
            raise UnknownStepError(self._definition.id, step.id, known)
        where = repr(self._point.key) if point is not None else "the point of the fork"
        raise InvalidValueError.because(
            f"output of step {step.id!r}",
            f"was given, but it does not precede {where}",
            cure="give one to a step before it, or fork at another",
        )

    # --- the new log -------------------------------------------------------------------------------

    def _creation(self) -> e.RunCreated:
        old = self._birth
        assert isinstance(old, e.RunCreated)
        context = dict(old.execution_context or {})
        context.pop("trace", None)  # what it belongs to is not what the other belonged to
        context.pop("due", None)  # it begins at once
        if self._given.state is not MISSING:
            context["state"] = cast("Any", self._given.state)
        if self._definition.has_code:
            context.setdefault("seed", self._run_id)  # chance, ids and time are as they were
            if self._journal.began_at is not None:
                context["at"] = self._journal.began_at.isoformat()
        return old.model_copy(
            update={
                "input": old.input if self._given.input is None else self._given.input,
                "execution_context": context or None,
                "definition_hash": self._definition.fingerprint,
                "idempotency_key": None,
                "parent_run_id": None,
                "replayed_from": self._run_id,
            }
        )

    def _taken(self, new_id: str, now: datetime) -> Iterator[tuple[int, int, e.NewEvent]]:
        """The events that are taken over, each with what it is sorted by."""
        for key, stored in self._created.items():
            if any(key.startswith(f"{other}/") for other in self._outputs):
                continue  # it led to an output that no longer counts
            part = "whole" if key in self._outputs else self._part(key)
            if part == "nothing":
                continue
            record = self._record(key)
            if isinstance(record, Record):
                yield stored.slot, 0, self._begun(record, cast("e.StepCreated", stored.event), new_id)
                if part == "whole":
                    slot = EVER if key == self._point.key else record.ended or stored.slot
                    yield slot, 1, self._ended(record, new_id, now)
                continue
            yield stored.slot, 0, self._wait(record, cast("e.WaitCreated", stored.event), new_id, now, part)
            if part == "whole":
                yield record.ended or stored.slot, 1, _over(record, new_id)

    def _begun(self, record: Record, event: e.StepCreated, new_id: str) -> e.StepCreated:
        meta = dict(event.meta or {})
        if self._is_upstream_changed:
            meta.pop("digest", None)  # the list that flows in may be another; what it gave before stands all the same
            if self._point.graph_of(scope_of(record.key)) is None:
                meta["overridden"] = True
        if record.key in self._outputs:
            meta.pop("skipped", None)
        name = correlation_id("step", new_id, record.key)
        return event.model_copy(update={"correlation_id": name, "meta": meta or None})

    def _wait(self, wait: WaitRecord, event: e.WaitCreated, new_id: str, now: datetime, part: Part) -> e.WaitCreated:
        changes: dict[str, object] = {"correlation_id": correlation_id("wait", new_id, wait.key)}
        if part == "whole":
            if wait.resume_at is not None and wait.resume_at > now:
                changes["resume_at"] = now  # it was woken early, or the clock was turned back
            if self._definition.has_code and wait.ended_at is not None:
                changes["meta"] = {**(event.meta or {}), "at": wait.ended_at.isoformat()}
        return event.model_copy(update=changes)

    def _ended(self, record: Record, new_id: str, now: datetime) -> e.NewEvent:
        end = self._ends.get(record.correlation_id)
        meta = dict(getattr(end, "meta", None) or {})
        name = correlation_id("step", new_id, record.key)
        if record.key == self._point.key:  # it is as if it had run now
            meta = {"at": now.isoformat()} if self._definition.has_code else {}
        elif (delta := self._delta(record)) is None:
            meta.pop("state", None)
        else:
            meta["state"] = delta
        if record.key in self._outputs:
            meta = {name: value for name, value in meta.items() if name not in ("bail", "skipped", "cancelled")}
            return e.StepCompleted(
                correlation_id=name, result=self._outputs[record.key], meta={**meta, "overridden": True}
            )
        assert isinstance(end, _ENDS)
        return end.model_copy(update={"correlation_id": name, "meta": meta or None})

    def _delta(self, record: Record) -> Any:
        """What a call changed in the state, for a run that may begin with another one."""
        if self._given.state is MISSING or "/" in record.key:
            return record.delta
        if self._places[record.key] == "before":
            return None  # the state that was given is that after it
        graph, records = self._definition.graph, self._journal.scopes[""]
        entry = state_before(graph, records, self._journal.initial_state, self._definition.positions[id_of(record.key)])
        return rebased(record.delta or {}, entry, self._given.state, rules_of(graph))

    @property
    def _is_upstream_changed(self) -> bool:
        return self._given.input is not None or any(key != self._point.key for key in self._outputs)


def _key_of(event: e.NewEvent) -> str:
    assert isinstance(event, _BEGINNINGS)
    return event.key or event.correlation_id


def _has_outcome(record: Record | WaitRecord) -> bool:
    if isinstance(record, WaitRecord):
        return record.ended is not None and record.cause != "cancelled"
    return record.status in ("completed", "skipped")


def _over(wait: WaitRecord, new_id: str) -> e.NewEvent:
    """What ended a wait: the log gives an event to the wait that had it before."""
    if wait.payload is not None:
        return e.SignalReceived(signal_type=wait.signal_type or "", payload_data=wait.payload)
    assert wait.cause is not None
    return e.WaitCompleted(correlation_id=correlation_id("wait", new_id, wait.key), cause=wait.cause)


def _common(key: str, other: str) -> str:
    """The prefix of the innermost scope that has both."""
    common: list[str] = []
    for one, two in zip(key.split("/")[:-1], other.split("/")[:-1], strict=False):
        if one != two:
            break
        common.append(one)
    return prefix_of(common)
