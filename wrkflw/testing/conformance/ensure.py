"""What a check demands, in sentences: they hold under ``python -O`` as well, and without pytest."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import TypeVar, overload

from wrkflw.world.errors import WorldError

T = TypeVar("T")
RefusalT = TypeVar("RefusalT", bound=WorldError)


class Breach(AssertionError):
    """The World does not keep the contract; the text says where."""


def ensure(condition: bool, promise: str) -> None:
    if not condition:
        raise Breach(promise)


def ensure_equal(got: object, wanted: object, what: str) -> None:
    if got != wanted:
        raise Breach(f"{what}: expected {_shortened(wanted)}, got {_shortened(got)}")


def present(value: T | None, what: str) -> T:
    """The value, which must be there."""
    if value is None:
        raise Breach(f"{what} is missing")
    return value


@overload
async def refusal(attempt: Awaitable[object], status: int, /) -> WorldError: ...
@overload
async def refusal(attempt: Awaitable[object], status: int, kind: type[RefusalT], /) -> RefusalT: ...
async def refusal(attempt: Awaitable[object], status: int, kind: type[WorldError] = WorldError, /) -> WorldError:
    """The refusal of what must be refused, of this kind and with this status."""
    try:
        given = await attempt
    except WorldError as error:
        if not isinstance(error, kind) or error.status != status:
            raise Breach(f"expected {kind.__name__} ({status}), got {_named(error)}: {error}") from error
        return error
    except Exception as error:
        raise Breach(f"expected {kind.__name__} ({status}), got {_named(error)}, which is not of the family") from error
    raise Breach(f"expected {kind.__name__} ({status}), but it was accepted and gave {_shortened(given)}")


async def all_refused(status: int, kind: type[WorldError], *attempts: Coroutine[object, object, object]) -> None:
    """Each is refused so; after one that is not, the rest is not begun."""
    try:
        for attempt in attempts:
            await refusal(attempt, status, kind)
    finally:
        for attempt in attempts:
            attempt.close()


def _named(error: Exception) -> str:
    status = f" ({error.status})" if isinstance(error, WorldError) else ""
    return f"{type(error).__name__}{status}"


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"
