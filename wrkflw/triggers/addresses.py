"""Mail addresses: what may be one, patterns of them, and the tag behind a plus."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from wrkflw.errors import DefinitionError

LONGEST = 254
_PATTERN = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+")
_LETTER = r"[^\s@\x00-\x1f\x7f-\x9f\ud800-\udfff<>,;:\"()\[\]\\]"
_ADDRESS = re.compile(f"{_LETTER}{{1,128}}@{_LETTER}{{1,253}}")


@dataclass(frozen=True, slots=True)
class AddressPattern:
    """``invoices@*``: an address, in which ``*`` stands for anything but an ``@``.  Case does not matter.

    Raises DefinitionError for what cannot be one.
    """

    text: str
    _expression: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not is_pattern(self.text):
            cure = "write 'invoices@example.org', or 'invoices@*' for any domain"
            shown = f"{self.text!r}"[:LONGEST]
            raise DefinitionError(f"{shown} cannot be an address pattern; {cure}")
        # Stars in a row are one: several would let a hostile address take very long.
        parts = re.split(r"\*+", self.text.lower())
        object.__setattr__(self, "text", "*".join(parts))
        object.__setattr__(self, "_expression", re.compile("[^@]*".join(map(re.escape, parts))))

    def matches(self, address: str) -> bool:
        return len(address) <= LONGEST and self._expression.fullmatch(address.lower()) is not None

    def receives(self, recipient: str) -> bool:
        """The same, of a recipient whose tag does not count."""
        return self.matches(recipient) or self.matches(without_tag(recipient))

    def __str__(self) -> str:
        return self.text


def is_pattern(value: object) -> bool:  # of any object: not all callers are typed
    return isinstance(value, str) and len(value) <= LONGEST and _PATTERN.fullmatch(value) is not None


def normal(address: str) -> str | None:
    """The address with its domain in small letters; None when it is none.

    Quoted local parts, comments and literal addresses are none: they are what parsers differ about.
    """
    if len(address) > LONGEST or not _ADDRESS.fullmatch(address):
        return None
    local, _, domain = address.partition("@")
    return f"{local}@{domain.lower().rstrip('.')}"


def without_tag(address: str) -> str:
    """``orders@example.org`` of ``orders+spring@example.org``."""
    local, _, domain = address.rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def tag_of(address: str) -> str:
    """``spring`` of ``orders+spring@example.org``; empty where there is none."""
    return address.rpartition("@")[0].partition("+")[2]


def domain_of(address: str) -> str:
    return address.rpartition("@")[2].lower()
