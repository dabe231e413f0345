"""At import or ``commit()``: a definition is not put together as it must be."""

from __future__ import annotations

from .base import WrkflwError


class DefinitionError(WrkflwError, TypeError):
    """A step or workflow is not put together as it must be."""


class DuplicateStepError(DefinitionError):
    """Two nodes of one workflow have one id."""

    def __init__(self, workflow_id: str, step_id: str, cure: str, *, kind: str = "step") -> None:
        super().__init__(f"workflow {workflow_id!r} already has a {kind} {step_id!r}; {cure}")
        self.workflow_id = workflow_id
        self.step_id = step_id
