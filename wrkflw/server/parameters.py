"""What stands in paths and queries, as it may be."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from fastapi import Header, Path, Query
from pydantic import AwareDatetime, BeforeValidator

from wrkflw.ids import RUN_ID
from wrkflw.runs import LONGEST_REASON

RunId: TypeAlias = Annotated[str, Path(pattern=f"^{RUN_ID}$")]
Name: TypeAlias = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
"""Of a workflow, an event, a stream."""
HookToken: TypeAlias = Annotated[str, Path(min_length=1, max_length=1024)]
Key: TypeAlias = Annotated[
    str | None, Query(min_length=1, max_length=1024, description="the key of a call: `poll#2`, `enrich/fetch`")
]
Wait: TypeAlias = Annotated[
    str | None,
    Query(pattern=r"^[0-9]{1,6}(ms|s|m)$", description="how long to wait for what the run comes to: `10s`"),
]
Delay: TypeAlias = Annotated[
    str | None, Query(pattern=r"^[0-9]{1,6}(ms|s|m|h|d)$", description="how long the run is not to begin: `5m`")
]
NewRunId: TypeAlias = Annotated[str | None, Query(pattern=f"^{RUN_ID}$")]
Attributes: TypeAlias = Annotated[
    list[str], Query(max_length=8, description="`name=value`, as often as there are attributes")
]
Reason: TypeAlias = Annotated[str | None, Query(min_length=1, max_length=LONGEST_REASON)]
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def _no_number(given: object) -> object:
    """pydantic would take seconds since 1970, which the document of the server does not offer."""
    if isinstance(given, str) and _DATE.match(given) is None:
        raise ValueError("give a date and a time with its offset, such as 2026-03-01T12:00:00Z")
    return given


Moment: TypeAlias = Annotated[AwareDatetime, BeforeValidator(_no_number)]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=1000)]
Cursor: TypeAlias = Annotated[str | None, Query(min_length=1, max_length=512)]
IdempotencyKey: TypeAlias = Annotated[
    str | None, Header(min_length=1, max_length=255, description="the same key again is the same run, or event")
]
LastEventId: TypeAlias = Annotated[str | None, Header(max_length=64, description="the cursor of the last item seen")]
