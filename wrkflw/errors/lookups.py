"""Somebody asks for what is not there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from wrkflw.suggestions import did_you_mean

from .base import WrkflwError, names

if TYPE_CHECKING:
    from typing import Self


_FEW = 8


class StepNotRunError(WrkflwError, LookupError):
    """The step has no result at this point; ``finished`` names those which have."""

    def __init__(self, step_id: str, finished: Iterable[str]) -> None:
        finished = tuple(finished)
        done = names(finished) or "nothing"
        self._say(step_id, f"step {step_id!r} has no result here; finished before this point: {done}", finished)

    @classmethod
    def beside(cls, step_id: str, asking: str) -> Self:
        """The step is of the same block as the one that asks."""
        cure = "read its result after the parallel block"
        return cls._saying(step_id, f"step {step_id!r} runs beside step {asking!r}; {cure}")

    @classmethod
    def once_per_item(cls, step_id: str) -> Self:
        """The step of a foreach has many results."""
        error = cls._saying(step_id, f"step {step_id!r} ran once per item; use get_step_results()")
        error.has_many = True
        return error

    @classmethod
    def skipped(cls, step_id: str, *, guarded: bool = False) -> Self:
        """The step was not run, and will not be: another arm was taken, or its ``only_if`` said no (``guarded``)."""
        cure = "ask with the guarded step, or pass default=" if guarded else "pass default="
        return cls._saying(step_id, f"step {step_id!r} was skipped; {cure}")

    @classmethod
    def never_reached(cls, run_id: str, step_id: str, reached: Iterable[str]) -> Self:
        """A fork asks for a step that the run did not come to; ``reached`` are those it did."""
        reached = tuple(reached)
        where = f"it can be forked at {names(reached)}" if reached else "start another"
        return cls._saying(step_id, f"run {run_id!r} never reached {step_id!r}; {where}", reached)

    @classmethod
    def never_called(cls, run_id: str, key: str, calls: Iterable[str]) -> Self:
        """A fork asks for a call that the run did not come to; ``calls`` are the keys of those it did, of that step."""
        calls = tuple(calls)
        where = names(calls) if len(calls) <= _FEW else f"{calls[0]!r} to {calls[-1]!r}"
        return cls._saying(key, f"run {run_id!r} never reached {key!r}; it can be forked at {where}", calls)

    @classmethod
    def no_sleep(cls, run_id: str, key: str, open: Iterable[str]) -> Self:
        """The run never came to a sleep of this key; ``open`` are those that are not over."""
        return cls._saying(key, f"run {run_id!r} never reached a sleep {key!r}; open: {names(open) or 'nothing'}")

    @classmethod
    def _saying(cls, step_id: str, sentence: str, finished: Iterable[str] = ()) -> Self:
        error = cls.__new__(cls)
        error._say(step_id, sentence, finished)
        return error

    def _say(self, step_id: str, sentence: str, finished: Iterable[str]) -> None:
        Exception.__init__(self, sentence)
        self.step_id = step_id
        self.finished = tuple(finished)
        self.has_many = False
        """Whether it did run, and has not one result but many: no default stands for these."""


class UnknownStepError(WrkflwError, LookupError):
    """The workflow has no such step."""

    def __init__(self, workflow_id: str, step_id: str, known: Iterable[str]) -> None:
        self.workflow_id = workflow_id
        self.step_id = step_id
        self.known = tuple(known)
        has = f"; it has {names(self.known)}" if self.known else ""
        # No question mark: the guess stands where the cure stands.
        guess = did_you_mean(step_id, self.known).removesuffix("?") or has
        super().__init__(f"workflow {workflow_id!r} has no step {step_id!r}{guess}")


class UnknownEventError(WrkflwError, LookupError):
    """The workflow never waits for such an event."""

    def __init__(self, workflow_id: str, name: str, waits_for: Iterable[str]) -> None:
        self.workflow_id = workflow_id
        self.name = name
        self.waits_for = tuple(waits_for)
        waits = names(self.waits_for) or "no event at all"
        super().__init__(f"workflow {workflow_id!r} never waits for {name!r}; it waits for {waits}")


class RunNotFoundError(WrkflwError, LookupError):
    """The database holds no such run."""

    def __init__(self, run_id: str) -> None:
        self._say(run_id, f"there is no run {run_id!r}; look for its id among runs.list(), and at the database in use")

    @classmethod
    def not_started(cls, run_id: str) -> Self:
        """The handle is of a run that is yet to be."""
        return cls._saying(run_id, f"run {run_id!r} was not started; call start() or enqueue()")

    @classmethod
    def of_another(cls, run_id: str, workflow_id: str) -> Self:
        """The run is one of ``workflow_id``, and another workflow was asked for it."""
        cure = "take it with that workflow's get_run()"
        return cls._saying(run_id, f"run {run_id!r} is a run of workflow {workflow_id!r}; {cure}")

    @classmethod
    def not_held(cls, mail_id: str) -> Self:
        """A mail that was in the quarantine, and was released or dropped."""
        cure = "look for those that are, with quarantine.list()"
        return cls._saying(mail_id, f"mail {mail_id!r} is held no longer; {cure}")

    @classmethod
    def _saying(cls, run_id: str, sentence: str) -> Self:
        error = cls.__new__(cls)
        error._say(run_id, sentence)
        return error

    def _say(self, run_id: str, sentence: str) -> None:
        Exception.__init__(self, sentence)
        self.run_id = run_id
