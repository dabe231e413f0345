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

FAILED: Final = 1
USAGE: Final = 2
PARKED: Final = 3
INTERRUPTED: Final = 130

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


def ended_by(error: BaseException) -> int:
    """Say what went wrong, on stderr, and with which code the process ends."""
    match error:
        case KeyboardInterrupt():
            _say("interrupted")
            return INTERRUPTED
        case MisuseError() | ValueError():  # durations and the like
            _say(str(error))
            return USAGE
        case WrkflwError():
            _say(str(error))
            return USAGE if isinstance(error, _USAGE_ERRORS) else FAILED
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            _say(f"{where}{error.strerror or error}")
            return FAILED
        case _:
            _say(f"{type(error).__name__}: {first_line(error)}; add --debug to see where it comes from")
            return FAILED


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its name where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _say(sentence: str) -> None:
    print(f"wrkflw: {sentence}", file=sys.stderr)
