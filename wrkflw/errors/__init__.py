"""The family of errors: each carries its facts as fields and words its own sentence.

::

    WrkflwError
    ├── DefinitionError(TypeError)           at import or commit()
    │   └── DuplicateStepError
    ├── InvalidValueError(ValueError)        a value does not fit its type
    ├── NodeError                            user code between steps
    │   ├── ConditionError
    │   ├── MapError
    │   └── NoMatchError
    ├── StepNotRunError(LookupError)         asking for what is not there
    ├── UnknownStepError(LookupError)
    ├── UnknownEventError(LookupError)
    ├── RunNotFoundError(LookupError)
    ├── StepFailedError                      how a step or a run ends
    ├── StateConflictError
    ├── LimitError
    ├── StepTimeoutError(TimeoutError)
    ├── RunTimeoutError(TimeoutError)
    ├── WaitTimeoutError(TimeoutError)
    ├── StepInterruptedError
    ├── OutcomeUnknownError
    ├── SuspendSwallowedError
    ├── FatalError                           raised by users in bodies
    ├── RetryAfter
    ├── RunExistsError                       what a call may not do now
    ├── RunConflictError
    ├── RunFinishedError
    ├── NotSuspendedError
    ├── AmbiguousResumeError
    ├── AlreadyResumedError
    ├── RunFailedError                       from unwrap()
    ├── RunNotFinishedError
    ├── NondeterminismError                  the code no longer fits the record: pauses the run
    │   └── ForeignAwaitError
    ├── DefinitionChangedError
    └── StoreError                           storage could not commit

A sentence says what is the case, then ``;``, then what to do about it.  Control flow that nobody may catch (suspend,
bail) is a private BaseException elsewhere, not a member of this family.
"""

from __future__ import annotations

from .base import WrkflwError
from .definitions import DefinitionError, DuplicateStepError
from .lookups import RunNotFoundError, StepNotRunError, UnknownEventError, UnknownStepError
from .nodes import ConditionError, MapError, NodeError, NoMatchError
from .records import DefinitionChangedError, ForeignAwaitError, NondeterminismError, StoreError
from .runs import (
    AlreadyResumedError,
    AmbiguousResumeError,
    NotSuspendedError,
    RunConflictError,
    RunExistsError,
    RunFailedError,
    RunFinishedError,
    RunNotFinishedError,
)
from .steps import (
    FatalError,
    OutcomeUnknownError,
    RetryAfter,
    RunTimeoutError,
    StateConflictError,
    StepFailedError,
    StepInterruptedError,
    StepTimeoutError,
    SuspendSwallowedError,
    WaitTimeoutError,
)
from .values import InvalidValueError, LimitError

__all__ = [
    "AlreadyResumedError",
    "AmbiguousResumeError",
    "ConditionError",
    "DefinitionChangedError",
    "DefinitionError",
    "DuplicateStepError",
    "FatalError",
    "ForeignAwaitError",
    "InvalidValueError",
    "LimitError",
    "MapError",
    "NoMatchError",
    "NodeError",
    "NondeterminismError",
    "NotSuspendedError",
    "OutcomeUnknownError",
    "RetryAfter",
    "RunConflictError",
    "RunExistsError",
    "RunFailedError",
    "RunFinishedError",
    "RunNotFinishedError",
    "RunNotFoundError",
    "RunTimeoutError",
    "StateConflictError",
    "StepFailedError",
    "StepInterruptedError",
    "StepNotRunError",
    "StepTimeoutError",
    "StoreError",
    "SuspendSwallowedError",
    "UnknownEventError",
    "UnknownStepError",
    "WaitTimeoutError",
    "WrkflwError",
]

# In tracebacks and in the record they are known by this name, whichever file they stand in.
for _name in __all__:
    globals()[_name].__module__ = __name__
