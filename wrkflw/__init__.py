"""Typed pipelines that lose nothing: every step's result is durable before the next step depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .branching import Branch, Match
from .builder import WorkflowBuilder, create_workflow
from .clock import Clock
from .context import MapContext, StepContext, SuspendContext
from .decorators import create_step, step
from .errors import (
    AlreadyResumedError,
    AmbiguousResumeError,
    ConditionError,
    DefinitionChangedError,
    DefinitionError,
    DuplicateStepError,
    FatalError,
    ForeignAwaitError,
    InvalidValueError,
    LimitError,
    MapError,
    NodeError,
    NoMatchError,
    NondeterminismError,
    NotSuspendedError,
    OutcomeUnknownError,
    RetryAfter,
    RunConflictError,
    RunExistsError,
    RunFailedError,
    RunFinishedError,
    RunNotFinishedError,
    RunNotFoundError,
    RunTimeoutError,
    StateConflictError,
    StepFailedError,
    StepInterruptedError,
    StepNotRunError,
    StepTimeoutError,
    StoreError,
    SuspendSwallowedError,
    UnknownEventError,
    UnknownStepError,
    WaitTimeoutError,
    WrkflwError,
)
from .events import Event
from .imperative import StepTools, workflow
from .merging import Merge
from .on_demand import loaded_from as _loaded_from
from .portal import sync
from .results import (
    Cancelled,
    Completed,
    Failed,
    Page,
    Paused,
    RunInfo,
    RunResult,
    RunStatus,
    Snapshot,
    StepError,
    StepResult,
    StreamItem,
    Suspended,
    Suspension,
    Waiting,
    WaitingFor,
)
from .retries import Retry
from .steps import Step, SuspendableStep
from .workflows import Workflow

if TYPE_CHECKING:
    from .deploys import RunCheck, check_runs
    from .engine.limits import Limits
    from .forks import Fork
    from .retention import Collected, gc
    from .run import Run
    from .runs import Runs
    from .runtime import Runtime
    from .world import World
else:  # To define workflows takes no engine and no World: they are loaded when first asked for.
    __getattr__ = _loaded_from(
        __name__,
        {
            "Collected": "retention",
            "Fork": "forks",
            "Limits": "engine.limits",
            "Run": "run",
            "RunCheck": "deploys",
            "Runs": "runs",
            "Runtime": "runtime",
            "World": "world",
            "check_runs": "deploys",
            "gc": "retention",
        },
    )


__all__ = [
    "AlreadyResumedError",
    "AmbiguousResumeError",
    "Branch",
    "Cancelled",
    "Clock",
    "Collected",
    "Completed",
    "ConditionError",
    "DefinitionChangedError",
    "DefinitionError",
    "DuplicateStepError",
    "Event",
    "Failed",
    "FatalError",
    "ForeignAwaitError",
    "Fork",
    "InvalidValueError",
    "LimitError",
    "Limits",
    "MapContext",
    "MapError",
    "Match",
    "Merge",
    "NoMatchError",
    "NodeError",
    "NondeterminismError",
    "NotSuspendedError",
    "OutcomeUnknownError",
    "Page",
    "Paused",
    "Retry",
    "RetryAfter",
    "Run",
    "RunCheck",
    "RunConflictError",
    "RunExistsError",
    "RunFailedError",
    "RunFinishedError",
    "RunInfo",
    "RunNotFinishedError",
    "RunNotFoundError",
    "RunResult",
    "RunStatus",
    "RunTimeoutError",
    "Runs",
    "Runtime",
    "Snapshot",
    "StateConflictError",
    "Step",
    "StepContext",
    "StepError",
    "StepFailedError",
    "StepInterruptedError",
    "StepNotRunError",
    "StepResult",
    "StepTimeoutError",
    "StepTools",
    "StoreError",
    "StreamItem",
    "SuspendContext",
    "SuspendSwallowedError",
    "SuspendableStep",
    "Suspended",
    "Suspension",
    "UnknownEventError",
    "UnknownStepError",
    "WaitTimeoutError",
    "Waiting",
    "WaitingFor",
    "Workflow",
    "WorkflowBuilder",
    "World",
    "WrkflwError",
    "check_runs",
    "create_step",
    "create_workflow",
    "gc",
    "step",
    "sync",
    "workflow",
]
