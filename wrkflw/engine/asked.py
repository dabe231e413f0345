"""What the code of a program has asked for: under which key, what of it is yet to end, and what was given up.

It is compared with the record: what was recorded must be asked for, and as what it is recorded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from wrkflw.errors import NondeterminismError
from wrkflw.world import events as e

from .branches import Branches
from .foreign import line_of_program
from .keys import of_iteration
from .operations import Operation, Wanted
from .records import Record, WaitRecord
from .scopes import Scope
from .values import Flow

if TYPE_CHECKING:
    from .drive import Drive

_MOST_NAMED = 3  # keys that a text names
PATCH = "?"
"""What the keys of patches begin with, which no id can have."""


class Asked:
    """The operations of the code of one scope.

    Each is made when a name is used, open from ``begin()`` to ``close()``, and in all tables for as long; a wait that
    is given up is closed before it ends.  ``branches`` are those that advance them.
    """

    def __init__(self, drive: Drive, scope: Scope, branches: Branches) -> None:
        self.by_key: dict[str, Operation] = {}
        """The open ones."""
        self.by_number: dict[int, Operation] = {}
        """The same, as ``branches`` know them."""
        self.todo: deque[int] = deque()
        """Those of them that are to be advanced for the first time, by number."""
        self.open_waits = 0
        """How many of them the outside may end."""
        self._drive = drive
        self._scope = scope
        self._branches = branches
        self._timers: dict[int, Operation] = {}
        """By the id of the timer, for timers of one time and call are equal."""
        self._uses: dict[str, int] = {}
        self._count = 0
        self._unwanted: set[str] = set()
        """The keys of the waits that the code has given up: of their ends it is not told."""
        self._given_up: list[str] = []
        """Those of which that is yet to be recorded."""
        records = drive.journal.scopes.get(scope.prefix)
        begun = [] if records is None else [one.key for found in records.by_id.values() for one in found]
        self._unasked = dict.fromkeys(key for key in begun if not self.is_patch(key))
        """What is in the record, and the code has not asked for yet."""

    # --- names -------------------------------------------------------------------------------------

    def next_use(
        self,
        name: str,
        wanted: Wanted,
        begin: Callable[[str], Coroutine[Any, Any, Flow]],
        read: Callable[[Any], object],
        timer: asyncio.TimerHandle | None,
    ) -> Operation:
        """The next use of a name: it has its key and number, and is yet to begin."""
        self._count += 1
        use = self._uses[name] = self._uses.get(name, 0) + 1
        return Operation(self._key(name, use), self._count, wanted, begin, read, timer)

    def ended_before(self, name: str) -> Record | None:
        """What is on record for the next use of a name, if that is over."""
        if not self._unasked:
            return None
        use = self._uses.get(name, 0) + 1
        record = self._drive.journal.records.get(self._key(name, use))
        return record if record is not None and record.ended is not None else None

    def _key(self, name: str, use: int) -> str:
        return self._scope.key_of(name if use == 1 else of_iteration(name, use))

    def is_patch(self, key: str) -> bool:
        return key.startswith(PATCH, len(self._scope.prefix))

    # --- from its beginning to its end -------------------------------------------------------------

    def misfit(self, operation: Operation, record: Record | WaitRecord | None) -> NondeterminismError | None:
        """It is asked for.  Gives what is wrong if the record holds something else there."""
        self._unasked.pop(operation.key, None)
        if record is not None and (was := operation.wanted.misfit(record)) is not None:
            return self._another(operation.key, was, operation.wanted.what)
        return None

    def begin(self, operation: Operation) -> NondeterminismError | None:
        """Somebody waits for it.  Gives what is wrong if the record does not fit: then it does not begin."""
        key, journal = operation.key, self._drive.journal
        record = journal.waits.get(key) or journal.records.get(key)
        if (misfit := self.misfit(operation, record)) is not None:
            return misfit
        self.by_key[key] = self.by_number[operation.number] = operation
        if operation.timer is not None:
            self._timers[id(operation.timer)] = operation
        if operation.is_wait:
            self.open_waits += 1
        if record is None or record.ended is None:
            self.todo.append(operation.number)
        return None

    def of_timer(self, timer: asyncio.TimerHandle) -> Operation | None:
        return self._timers.get(id(timer))

    def cut_off(self) -> list[int]:
        """Take what ran when a process died, and is to begin here though nothing else does."""
        keys = self._drive.journal.interrupted(self._scope.prefix)
        found = [number for number in self.todo if self.by_number[number].key in keys]
        for number in found:
            self.todo.remove(number)
        return found

    def close(self, operation: Operation) -> None:
        """The code is told of its end, or wants none."""
        self.by_key.pop(operation.key, None)
        self.by_number.pop(operation.number, None)
        self._branches.forget(operation.number)
        if operation.timer is not None:
            self._timers.pop(id(operation.timer), None)
        if operation.is_wait:
            self.open_waits -= 1

    def give_up(self, operation: Operation) -> None:
        """The code no longer waits: a step goes on all the same, a wait is closed and takes nothing."""
        if operation.number not in self.by_number:
            return
        if not operation.is_wait:
            self._drive.unwanted[operation.key] = None
            return
        self.close(operation)
        wait = self._drive.journal.waits.get(operation.key)
        if wait is None:
            with suppress(ValueError):  # it may have begun, and parked before it was recorded
                self.todo.remove(operation.number)
            return
        self._unwanted.add(operation.key)
        if wait.open:
            self._given_up.append(operation.key)

    def was_given_up(self, key: str) -> bool:
        wait = self._drive.journal.waits.get(key)
        return key in self._unwanted or (wait is not None and wait.cause == "cancelled")

    def record_given_up(self) -> None:
        """Only when it is known that the code fits the record: else the wait may still be wanted."""
        for key in self._given_up:
            wait = self._drive.journal.waits[key]
            if wait.open:
                self._drive.recorder.note(e.WaitCompleted(correlation_id=wait.wait_id, cause="cancelled"))
        self._given_up.clear()

    # --- what does not fit -------------------------------------------------------------------------

    @property
    def is_behind(self) -> bool:
        """Whether the record holds things that the code has yet to ask for."""
        return bool(self._unasked)

    def check_all(self) -> None:
        """Raises NondeterminismError when the code has not asked for all that is in the record."""
        for key in self._unasked:
            raise self.misses(key)

    def misses(self, key: str) -> NondeterminismError:
        """The error of code that should have asked for this, and has not."""
        asks = f"workflow {self._scope.definition.id!r} does not ask for at that point"
        journal = self._drive.journal
        new = [repr(one) for one in self.by_key if one not in journal.records and one not in journal.waits]
        instead = f"; it asks for {' and '.join(new[:_MOST_NAMED])}" if new else ""
        return self._nondeterminism(key, f"recorded {key!r}, which {asks}{instead}")

    def _another(self, key: str, was: str, now: str) -> NondeterminismError:
        asks = f"workflow {self._scope.definition.id!r} now asks for {now} there"
        line = "" if (where := line_of_program()) is None else f" ({where})"
        return self._nondeterminism(key, f"recorded {was} at {key!r}, and {asks}{line}")

    def _nondeterminism(self, key: str, what: str) -> NondeterminismError:
        run_id = self._drive.run_id
        cure = "deploy the old code, or guard what is new with step.patched('...')"
        return NondeterminismError(run_id, key, f"run {run_id!r} {what}; {cure}")
