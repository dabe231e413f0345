"""What attributes may be: few and small, for they are labels to find runs by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

MOST = 64
LONGEST = 256
"""A name in characters, a value in bytes as UTF-8."""


class Fault(NamedTuple):
    """What is wrong, in the parts of a sentence."""

    what: str
    problem: str
    cure: str

    def __str__(self) -> str:
        return f"{self.what} {self.problem}; {self.cure}"


def fault_in(attributes: Mapping[str, str], *, reserved: bool) -> Fault | None:
    """The first thing that may not be.  ``reserved``: whether names may be those that wrkflw keeps for itself."""
    if len(attributes) > MOST:
        return Fault("a run", f"has at most {MOST} attributes, this makes {len(attributes)}", "drop some")
    faults = (fault_of(name, value, reserved=reserved) for name, value in attributes.items())
    return next((fault for fault in faults if fault is not None), None)


def fault_of(name: str, value: str, *, reserved: bool) -> Fault | None:
    """What may not be of one attribute."""
    if _size(name) is None:
        return Fault("the name of an attribute", f"is no Unicode text: {name[:80]!r}", _DECODE)
    if not 1 <= len(name) <= LONGEST or "\0" in name:
        problem = f"must have 1 to {LONGEST} characters, none of them NUL"
        return Fault(f"attribute name {name[:80]!r}", problem, "take another name")
    attribute, size = f"attribute {name!r}", _size(value)
    if name.startswith("$") and not reserved:
        return Fault(attribute, "begins with '$', which is reserved", "take another name")
    if size is None:
        return Fault(attribute, f"is no Unicode text: {value[:80]!r}", _DECODE)
    if size > LONGEST:
        return Fault(attribute, f"is longer than {LONGEST} bytes", "keep it in a step's result")
    if "\0" in value:
        return Fault(attribute, "holds a NUL, by which no run is found", "leave it out")
    return None


_DECODE = "decode it before you pass it on"


def _size(text: str) -> int | None:
    """In bytes; None for what is no text, as the name of a file may be."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None
