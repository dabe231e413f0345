"""How a run comes to be: recorded once, or found by its key, where somebody was faster."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from .creation import check_attributes, creation_of
from .engine.overflow import told_as_limit
from .errors import InvalidValueError, LimitError, RunConflictError, RunExistsError, RunNotFoundError, StoreError
from .ids import RUN_ID, made_another_time
from .runs import check_word, is_text
from .world.errors import EntityConflictError, WorldError

if TYPE_CHECKING:
    from .engine.definition import Definition
    from .engine.drive import Drive
    from .engine.journal import Journal
    from .engine.values import Settled
    from .runtime import Runtime
    from .workflows import Workflow
    from .world.events import RunCreated

_RUN_ID = re.compile(RUN_ID)
_LONGEST_KEY = 1024


class Birth:
    """Of the run of one handle.

    ``exists``: it is there already; ``found_by_key``: and it is the one that holds the key.
    ``joins``: whether a run that holds the key does as well, where somebody else made it.
    """

    def __init__(
        self,
        runtime: Runtime,
        definition: Definition,
        run_id: str,
        *,
        exists: bool = False,
        found_by_key: bool = False,
        joins: bool = True,
        idempotency_key: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self.runtime = runtime
        self.definition = definition
        self.run_id = run_id
        self.exists = exists
        """Whether the run is recorded, or about to be."""
        self.found_by_key = found_by_key
        self._joins = joins
        self._idempotency_key = idempotency_key
        self._attributes = dict(attributes or {})

    @classmethod
    async def of(
        cls,
        runtime: Runtime,
        workflow: Workflow[Any, Any, Any],
        *,
        run_id: str | None = None,
        idempotency_key: str | None = None,
        attributes: Mapping[str, str] | None = None,
        on_conflict: Literal["use_existing", "fail"] = "use_existing",
    ) -> Birth:
        """Of a run to be, or of the one that holds the key.  Raises InvalidValueError, RunExistsError."""
        definition = runtime.define(workflow)
        check_attributes({} if attributes is None else attributes)
        check_word("on_conflict=", [on_conflict], ("use_existing", "fail"))
        check_run_id(run_id)
        check_key(idempotency_key)
        if idempotency_key is not None:
            holder = await runtime.world.storage.runs.find(workflow.id, idempotency_key)
            if holder is not None:
                if on_conflict == "fail":
                    raise RunExistsError(holder.run_id)
                return cls(
                    runtime,
                    definition,
                    holder.run_id,
                    exists=True,
                    found_by_key=True,
                    idempotency_key=idempotency_key,
                )
        if run_id is not None and (made := made_another_time(run_id, runtime.clock.now())) is not None:
            problem = f"was made at {made:%Y-%m-%d %H:%M:%S}, which is not now"
            raise InvalidValueError.because(f"run id {run_id!r}", problem, cure="make a new one")
        return cls(
            runtime,
            definition,
            run_id or runtime.new_run_id(),
            joins=on_conflict == "use_existing",
            idempotency_key=idempotency_key,
            attributes=attributes,
        )

    def created(
        self, input_data: object, initial_state: object, due: datetime | None = None
    ) -> tuple[RunCreated, Settled]:
        """What creates the run, which begins at once unless it is ``due`` later, and its input as it will be read back.

        Raises InvalidValueError, LimitError.
        """
        return creation_of(
            self.runtime,
            self.definition,
            self.run_id,
            input_data,
            initial_state,
            attributes=self._attributes,
            idempotency_key=self._idempotency_key,
            due=due,
        )

    def begin(self, created: RunCreated, given: Settled) -> Drive:
        """Drive the run here from its first event on; ``given`` is its input, which is handed to it.

        Raises RunExistsError when it is driven already; StoreError when nothing begins here any more.
        """
        driver = self.runtime.driver
        if driver.drive_of(self.run_id) is not None:
            raise RunExistsError(self.run_id)
        drive = driver.begin(self.definition, self.run_id, created, given=given)
        self.exists = True
        return drive

    @contextmanager
    def following(self, drive: Drive) -> Generator[None]:
        """Within: a run that could not be recorded may be started again.  Raises LimitError for what never can be."""
        try:
            with told_as_limit():
                yield
        except LimitError:
            self.exists = False
            raise
        except EntityConflictError:  # it is somebody else's, see find_holder()
            raise
        except (WorldError, StoreError):
            self.exists = drive.refusal is None
            raise

    async def record(self, created: RunCreated, wake_at: datetime | None) -> bool:
        """Record the run for any worker; False when somebody was faster, and theirs is to be taken.

        Durable when it returns.  Raises as :meth:`find_holder` does, and StoreError when nothing was recorded.
        """
        events = self.runtime.world.storage.events
        try:
            await events.create(self.run_id, created, wake_at=wake_at, resolve_data="none")
        except EntityConflictError as conflict:
            await self.find_holder(conflict)
            return False
        self.exists = True
        return True

    async def find_holder(self, conflict: EntityConflictError) -> None:
        """Somebody else was faster: take the run that holds the key.

        Raises RunExistsError when there is none, or the handle is to be of a new run.
        """
        runs = self.runtime.world.storage.runs
        holder = None
        if self._idempotency_key is not None:
            holder = await runs.find(self.definition.id, self._idempotency_key)
        if holder is None and await runs.get_many([self.run_id]) == [None]:
            self.exists = False
            raise RunExistsError.elsewhere(self.run_id) from conflict
        if holder is None:
            raise RunExistsError(self.run_id) from conflict
        if not self._joins:
            self.exists = holder.run_id == self.run_id
            raise RunExistsError(holder.run_id) from conflict
        self.run_id, self.exists, self.found_by_key = holder.run_id, True, True

    def check_meant(self, created: RunCreated, found: Journal) -> None:
        """Raises RunConflictError when the run that was found has another input than the one that was to be."""
        if found.input != created.input:
            schema = self.definition.input_schema
            before = schema.load(found.input or b"null", "the recorded input")
            if before != schema.load(created.input or b"null", "the input"):
                raise RunConflictError(self.run_id)


class Started:
    """Within its block: that there is no such run means that it was not started."""

    __slots__ = ("_birth",)

    def __init__(self, birth: Birth) -> None:
        self._birth = birth

    def __enter__(self) -> None: ...

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, RunNotFoundError) and not self._birth.exists:
            raise RunNotFoundError.not_started(self._birth.run_id) from error


def check_run_id(run_id: str | None) -> None:
    """Raises InvalidValueError when it is given, and no run can have it."""
    if run_id is not None and not (is_text(run_id) and _RUN_ID.fullmatch(run_id)):
        cure = "use letters, digits, '_' and '-', at most 128"
        raise InvalidValueError.because(_shown(run_id), "cannot be a run id", cure=cure)


def check_key(key: str | None) -> None:
    """Raises InvalidValueError when it is given, and cannot be an idempotency key."""
    if key is not None and not (is_text(key) and 0 < len(key) <= _LONGEST_KEY):
        cure = f"give a text of 1 to {_LONGEST_KEY:,} characters"
        raise InvalidValueError.because(_shown(key), "cannot be an idempotency key", cure=cure)


def _shown(value: object) -> str:
    return repr(value[:140]) if isinstance(value, str) else repr(value)[:140]
