"""Values on their way from one node to the next."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeAlias

from wrkflw.errors import InvalidValueError, LimitError
from wrkflw.schemas import Schema
from wrkflw.world.nesting import DEEPEST, is_too_deep

_AROUND_STATE = 3
"""Objects in which state stands in an event, at most."""


class Settled:
    """A value, and the bytes it was stored as, where it was.

    The value belongs to whom it is handed to: nobody else holds it.
    """

    __slots__ = ("data", "schema", "value")

    def __init__(self, value: object, data: bytes | None = None, schema: Schema | None = None) -> None:
        self.value = value
        self.data = data
        self.schema = schema
        """By which the bytes were written."""

    def fresh(self) -> object:
        """A copy, for one who may change it."""
        if self.data is not None and self.schema is not None:
            return self.schema.load(self.data, "a recorded value")
        try:
            return copy.deepcopy(self.value)
        except Exception:  # noqa: BLE001  # some values cannot be copied: they never get into the record either
            return self.value


class Later:
    """The same, made when somebody asks: what flowed before the point where a recovered run goes on."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Flow]) -> None:
        self._make = make
        self._made: Flow | None = None

    @property
    def _settled(self) -> Flow:
        if self._made is None:
            self._made = self._make()
        return self._made

    @property
    def value(self) -> object:
        return self._settled.value

    @property
    def data(self) -> bytes | None:
        return self._settled.data

    @property
    def schema(self) -> Schema | None:
        return self._settled.schema

    def fresh(self) -> object:
        return self._settled.fresh()


Flow: TypeAlias = Settled | Later
"""What flows between nodes."""

NOTHING = Settled(None)


def stored(schema: Schema, value: object, what: str, limit: int) -> Settled:
    """``value`` written and read back.  Raises InvalidValueError, or LimitError past ``limit`` bytes."""
    data, loaded = schema.store(value, what)
    if len(data) > limit:
        raise LimitError(
            f"{what} has {len(data):,} bytes, the limit is {limit:,}; store it elsewhere and pass a reference, "
            "or raise Limits.value_bytes",
            limit=limit,
            got=len(data),
        )
    return Settled(loaded, data, schema)


def check_depth(schema: Schema, state: bytes, what: str) -> None:
    """Raises InvalidValueError when stored state nests deeper than an event may hold it."""
    if is_too_deep(state.decode(), within=_AROUND_STATE):
        raise InvalidValueError(what, schema.name, [f"nested deeper than {DEEPEST - _AROUND_STATE} levels"])
