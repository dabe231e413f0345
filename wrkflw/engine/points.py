"""Where a fork begins, and where the calls of the run stand, seen from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from wrkflw.errors import (
    AmbiguousResumeError,
    DefinitionChangedError,
    RunFinishedError,
    StepNotRunError,
    UnknownStepError,
)
from wrkflw.graph import AnyStep, Foreach, Loop, Parallel

from . import failures
from .definition import Definition, counts
from .journal import Journal
from .keys import id_of, index_of, iteration_of, scope_of
from .records import Record

EVER = 2**62
"""A slot that no log has."""
_OPEN = ("pending", "running", "retrying", "waiting", "cancelled")

Place: TypeAlias = Literal["before", "beside", "around", "after"]
"""Where a call stands, seen from the point of the fork: its block is under way when it is *beside*."""


class Point:
    """``at`` or ``key`` say where; without them it is where the run failed, or stands.

    ``slots`` tells when each call began.  Raises UnknownStepError, StepNotRunError, AmbiguousResumeError,
    RunFinishedError, DefinitionChangedError for a point that there is not.
    """

    def __init__(
        self, definition: Definition, journal: Journal, slots: Mapping[str, int], at: AnyStep | None, key: str | None
    ) -> None:
        self._definition = definition
        self._journal = journal
        self._slots = slots
        self.retries = at is None and key is None
        """Whether the run goes on where it failed, or repeats what is open in it."""
        self.key = self._where_it_stands() if self.retries else self._point_at(at, key)
        """Of the call; or a prefix of keys for the end of that scope, where nothing in it failed or is open."""
        self.limit = self._limit()
        """What a program had recorded by this slot is taken over."""
        self._check()

    def _point_at(self, at: AnyStep | None, key: str | None) -> str:
        known = steps_in(self._definition)
        if at is not None and at.id not in known and not self._definition.has_code:
            raise UnknownStepError(self._definition.id, at.id, known)
        if key is not None:
            record = self._journal.records.get(key) or self._journal.waits.get(key)
            if record is None or (at is not None and (not isinstance(record, Record) or record.name != at.id)):
                raise self._never_called(key, id_of(key) if at is None else at.id)
            return key
        assert at is not None
        calls = [record.key for record in self._journal.records.values() if record.name == at.id]
        calls = [call for call in calls if "/" not in call] or calls
        if not calls:
            raise StepNotRunError.never_reached(self._journal.run_id, at.id, self._reached())
        if len(calls) > 1:
            raise AmbiguousResumeError.ran_often(at.id, calls)
        return calls[0]

    def _never_called(self, key: str, id: str) -> StepNotRunError:
        """There is no such call: which there are of this step, beside it if there are."""
        journal = self._journal
        calls = [record.key for record in journal.records.values() if record.name == id]
        calls += [wait for wait in journal.waits if id_of(wait) == id]
        calls = [call for call in calls if scope_of(call) == scope_of(key)] or calls
        if not calls:
            return StepNotRunError.never_reached(journal.run_id, key, self._reached())
        return StepNotRunError.never_called(journal.run_id, key, calls)

    def _reached(self) -> list[str]:
        records = self._journal.records.values()
        return list(
            dict.fromkeys(record.name for record in records if "/" not in record.key and record.kind != "patch")
        )

    def _where_it_stands(self) -> str:
        """Where the run failed, or the first call of it that is open."""
        journal = self._journal
        if journal.status == "completed":
            raise RunFinishedError(self._journal.run_id, journal.status, "pass at= to fork it before one of its steps")
        failed = journal.records.get(failures.of_run(journal.error, journal.error_code).key)
        unfinished = [failed] if failed is not None and failed.status == "failed" else self._unfinished()
        if not unfinished:
            return ""
        record = unfinished[0]
        while (inside := [other for other in unfinished if other.key.startswith(f"{record.key}/")]) != []:
            record = inside[0]
        return f"{record.key}/" if record.kind == "workflow" else record.key

    def _unfinished(self) -> list[Record]:
        """What is open, or was when the run ended; and what failed, where no program can have caught it."""
        return [
            record
            for record in self._journal.records.values()
            if record.status in _OPEN or (record.status == "failed" and self.graph_of(scope_of(record.key)) is not None)
        ]

    def _limit(self) -> int:
        """When the call began; when it ended where it is tried again: what was asked for meanwhile is taken over."""
        if not self.retries:
            return self._slot_of(self.key)
        stopped = self._journal.records.get(self.key)
        return EVER if stopped is None or stopped.ended is None else stopped.ended

    def _check(self) -> None:
        """Raises DefinitionChangedError when the workflow no longer has the point."""
        parts = self.key.split("/")
        for length, part in enumerate(parts):
            graph = self.graph_of(prefix_of(parts[:length]))
            if graph is None or not part:
                continue
            position = graph.positions.get(id_of(part))
            told_apart = "items" if part.endswith("]") else "iterations" if "#" in part else None
            if position is None or counts(graph.nodes[position]) != told_apart:
                raise DefinitionChangedError(self._journal.run_id, "/".join(parts[: length + 1]), self._definition.id)

    # --- places ------------------------------------------------------------------------------------

    def graph_of(self, prefix: str) -> Definition | None:
        """The definition of a scope; None for the code of a program, and for what only a program knows."""
        found = self._definition.within(prefix)
        return None if found is None or found.is_code else found

    def place_of(self, key: str) -> Place:
        """Where a call stands.  Raises DefinitionChangedError when the code has another order than the record."""
        parts, point = key.split("/"), self.key.split("/")
        level = next(
            (number for number, (one, other) in enumerate(zip(parts, point, strict=False)) if one != other), -1
        )
        if level < 0:
            return "around" if len(parts) < len(point) else "after"
        prefix = prefix_of(parts[:level])
        mine, its = prefix + parts[level], prefix + point[level]
        graph = self.graph_of(prefix)
        if graph is None:
            return "before" if self._slot_of(key) < self.limit else "after"
        if not point[level]:
            return "before"
        return self._place_in(graph, mine, its)

    def _place_in(self, graph: Definition, mine: str, its: str) -> Place:
        """Of a call in a graph, seen from another.  Raises DefinitionChangedError when they have changed places."""
        position, point = graph.positions.get(id_of(mine)), graph.positions[id_of(its)]
        began_before = self._slot_of(mine) < self._slot_of(its)
        if position is None and not began_before:
            return "after"  # it is gone, and would not have been taken over
        if position is None or (position != point and (position < point) is not began_before):
            raise DefinitionChangedError(self._journal.run_id, mine, self._definition.id)
        if position != point:
            return "before" if began_before else "after"
        match graph.nodes[point]:
            case Parallel():
                return "beside"
            case Foreach(concurrency=concurrency) if concurrency > 1:
                return "beside"
            case Foreach():
                return "before" if (index_of(mine) or 0) < (index_of(its) or 0) else "after"
            case Loop():
                return "before" if (iteration_of(mine) or 0) < (iteration_of(its) or 0) else "after"
            case _:
                return "after"  # another arm

    def _slot_of(self, key: str) -> int:
        """When a call began; what has no call of its own is the end of its scope."""
        return self._slots.get(key, EVER)


def prefix_of(parts: Sequence[str]) -> str:
    return "".join(f"{part}/" for part in parts)


def steps_in(definition: Definition) -> list[str]:
    """The ids of its steps, and of those in the workflows nested in it."""
    inside = [steps_in(definition.nested(step)) for step in definition.steps.values() if step.kind == "workflow"]
    return list(dict.fromkeys([*definition.steps, *(id for ids in inside for id in ids)]))
