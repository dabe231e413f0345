"""A step call of no run, for unit tests of bodies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Never

from .errors import StepNotRunError

if TYPE_CHECKING:
    from .steps import Step


class TrialCall:
    """A call of no run: what ``for_test()`` looks at."""

    workflow_id = step_id = key = "test"
    attempt = 1
    iteration: int | None = None
    index: int | None = None
    fence = 1
    stopping = False

    def __init__(
        self, run_id: str, state: object, outputs: Mapping[str, object], answers: Iterable[object] = ()
    ) -> None:
        self.run_id = run_id
        self.state = state
        self.resume_data: object = None
        self.chunks: list[tuple[str, object]] = []
        self._outputs = outputs
        self._answers = iter(answers)

    def result_of(self, step: Step[Never, object, Never], /) -> object:
        if step.id not in self._outputs:
            raise StepNotRunError(step.id, self._outputs)
        return self._outputs[step.id]

    def results_of(self, step: Step[Never, object, Never], /) -> list[object]:
        return [self._outputs[step.id]] if step.id in self._outputs else []

    def set_state(self, state: object, /) -> None:
        self.state = state

    def init_data(self, schema: object, /) -> object:
        raise LookupError("a context for tests has no run, so no input; pass what the body needs in its own input")

    def heartbeat(self, details: object, /) -> None:
        """Nobody watches."""

    def bail(self, output: object, /) -> Never:
        raise LookupError(f"a context for tests has no workflow that could end with {output!r}; test it by a run")

    def write(self, chunk: object, stream: str, /) -> None:
        """Kept, and read by nobody."""
        self.chunks.append((stream, chunk))

    def suspend(self, payload: object, timeout: timedelta | None, /) -> object:
        try:
            self.resume_data = next(self._answers)
        except StopIteration:
            raise LookupError("there is no answer to this suspend(); pass for_test(answers=[...])") from None
        return self.resume_data
