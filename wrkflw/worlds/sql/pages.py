"""Pages and their cursors: opaque, exclusive, and bound to the listing they came from."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import TypeVar

from wrkflw.world.errors import WorldError
from wrkflw.world.storage import Page, PageRequest

from .arguments import one_of

T = TypeVar("T")

MOST = 1000
"""The most that one page holds."""
FAR = 2**62
"""Beyond every position and moment, and yet something the database can count."""


def limit_of(request: PageRequest) -> int:
    """How many the page may hold.  Raises WorldError (400) when that is none, or its order is no order."""
    if request.limit < 1:
        raise WorldError(f"a page of {request.limit} holds nothing; ask for 1 to {MOST}")
    if request.sort_order is not None:
        one_of("sort_order", request.sort_order, ("asc", "desc"))
    return min(request.limit, MOST)


def encode_cursor(listing: str, *position: int) -> str:
    text = ",".join([listing, *map(str, position)])
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, listing: str, start: tuple[int, ...]) -> tuple[int, ...]:
    """The position a cursor stands for, or ``start`` without one.  Raises WorldError (400) for a foreign cursor."""
    if cursor is None:
        return start
    try:
        name, *numbers = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split(",")
        position = tuple(map(int, numbers))
    except ValueError:
        name, position = "", ()
    if name != listing or len(position) != len(start) or any(abs(number) >= FAR for number in position):
        raise WorldError(f"{cursor[:80]!r} is not a cursor of this listing; use the one that its last page gave")
    return position


def page_of(found: list[T], limit: int, cursor: str | None, cursor_of: Callable[[T], str]) -> Page[T]:
    """A page of at most ``limit`` from one more than that; an empty one keeps the cursor it was asked with."""
    data = found[:limit]
    return Page(data, cursor_of(data[-1]) if data else cursor, has_more=len(found) > limit)
