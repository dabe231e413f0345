"""Arguments of calls that are no part of an event: what cannot be meant is refused, not passed over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from wrkflw.suggestions import did_you_mean
from wrkflw.world.errors import WorldError


def one_of(name: str, given: object, known: Sequence[str]) -> None:
    """Raises WorldError (400) unless ``given`` is one of the words that are ``known``."""
    if given not in known:
        guess = did_you_mean(str(given), known) or f"; use one of {', '.join(map(repr, known))}"
        raise WorldError(f"{name} cannot be {str(given)[:80]!r}{guess}")


def aware(name: str, given: datetime) -> None:
    """Raises WorldError (400) for a moment without a timezone: nobody knows when that is."""
    if given.utcoffset() is None:
        raise WorldError(f"{name} has no timezone: {given.isoformat()}; give one, such as datetime.now(UTC)")


def utf8(what: str, given: str) -> bytes:
    """The text as it is stored.  Raises WorldError (400) for half of a surrogate pair, which is no text."""
    try:
        return given.encode()
    except UnicodeEncodeError as error:
        raise WorldError(f"{what} is no Unicode text: {given[:80]!r}; decode it before you pass it on") from error
