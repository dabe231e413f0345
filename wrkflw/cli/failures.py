"""How a command ends that could not do what it was asked for: one sentence, and an exit code."""

from __future__ import annotations

import sys
from typing import Final

from wrkflw.errors import (
    AmbiguousResumeError,
    DefinitionError,
    InvalidValueError,
    StepNotRunError,
    UnknownEventError,
    UnknownStepError,
    WrkflwError,
)
from wrkflw.errors.base import first_line

FAILED: Final = 1
USAGE: Final = 2
PARKED: Final = 3
TRY_AGAIN: Final = 75
"""What mail servers call EX_TEMPFAIL."""

_USAGE_ERRORS = (
    AmbiguousResumeError,
    DefinitionError,
    InvalidValueError,
    StepNotRunError,
    UnknownEventError,
    UnknownStepError,
)


class MisuseError(Exception):
    """The command was used in a way that cannot work; the message says how it can."""


class NotTakenError(Exception):
    """A mail could not be taken in, for the reason that is the cause of this."""


def ended_by(error: BaseException) -> int:
    """Say what went wrong, on stderr, and with which code the process ends."""
    sentence, code = _verdict_on(error)
    print(f"wrkflw: {sentence}", file=sys.stderr)
    return code


def _verdict_on(error: BaseException) -> tuple[str, int]:
    match error:
        case NotTakenError(__cause__=BaseException() as cause):
            return f"{_verdict_on(cause)[0]}; the mail was not taken, deliver it again", TRY_AGAIN
        case MisuseError() | ValueError():  # durations and the like
            return str(error), USAGE
        case WrkflwError():
            return str(error), USAGE if isinstance(error, _USAGE_ERRORS) else FAILED
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{error.strerror or error}", FAILED
        case _:
            return f"{type(error).__name__}: {first_line(error)}; add --debug to see where it comes from", FAILED
