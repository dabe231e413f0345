"""Values on their way from one step to the next."""

from __future__ import annotations

from dataclasses import dataclass

from wrkflw.errors import LimitError
from wrkflw.schemas import Schema


@dataclass(frozen=True, slots=True)
class Flow:
    """What flows between nodes: a value, and the bytes it was stored as, where it was.

    The value belongs to whom it is handed to: nobody else holds it.
    """

    value: object
    data: bytes | None = None


def stored(schema: Schema, value: object, what: str, limit: int) -> Flow:
    """``value`` written and read back.  Raises InvalidValueError, or LimitError past ``limit`` bytes."""
    data, loaded = schema.store(value, what)
    if len(data) > limit:
        raise LimitError(
            f"{what} has {len(data):,} bytes, the limit is {limit:,}; store it elsewhere and pass a reference, "
            "or raise value_bytes",
            limit=limit,
            got=len(data),
        )
    return Flow(loaded, data)
