"""What the routes share: the runtime they speak of, who may call them, and what they count."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from starlette.requests import Request

from wrkflw.asgi import headers_of
from wrkflw.engine.definition import AnyStep, Definition
from wrkflw.events import Event
from wrkflw.run import Run
from wrkflw.runtime import Runtime
from wrkflw.suggestions import did_you_mean
from wrkflw.workflows import Workflow

from .bodies import read_json
from .callers import Callers
from .limits import ServerLimits
from .metrics import Metrics
from .problems import Refusal
from .tokens import Permission

AnyRun = Run[Any, Any, Any]


@dataclass(eq=False)
class Service:
    rt: Runtime
    callers: Callers
    limits: ServerLimits
    metrics: Metrics
    origins: Collection[str] = ()
    """Those that requests may carry besides the server's own."""
    events: Mapping[str, Event[Any]] = field(default_factory=dict[str, Event[Any]])
    """Those that only the code of a workflow knows."""
    steps: Mapping[str, AnyStep] = field(default_factory=dict[str, "AnyStep"])
    """The same."""
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """That the server ends, and what is open without an end with it."""

    # --- who may call ------------------------------------------------------------------------------

    def check(self, request: Request, permission: Permission) -> None:
        """Raises Refusal when the caller does not have the permission, or writes from a page of another site."""
        self.check_open()
        if permission != "read" and request.method in SAFE_METHODS:  # of the others this was asked at the gate
            self.check_origin(headers_of(request.scope))
        self.callers.of(request.scope).check(permission)

    def permits(self, request: Request, permission: Permission) -> bool:
        """Whether the caller has the permission; nobody has any."""
        return self.callers.of(request.scope).may(permission)

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Raises Refusal when a browser sends it for a page of another site."""
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is None:
            if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
                return
        elif origin in self.origins or (host and origin.partition("://")[2].lower() == host.lower()):
            return
        raise Refusal(403, f"requests from {(origin or 'another site')[:80]!r} may not write here; name it in origins=")

    def check_open(self) -> None:
        """Raises Refusal while there is no runtime to ask."""
        if not self.rt.is_open or self.rt.driver.leaving:
            raise Refusal(503, "the runtime is not open; mount the application with lifespan(rt)", {"Retry-After": "1"})

    async def read(self, request: Request, *, empty: bytes = b"null") -> bytes:
        """The body of the request, JSON; ``empty`` where there is none."""
        return await read_json(request, self.limits, self.rt.clock) or empty

    # --- what they speak of ------------------------------------------------------------------------

    def definition(self, workflow_id: str) -> Definition:
        """Raises Refusal when there is no such workflow here."""
        found = self.rt.definitions.get(workflow_id)
        if found is None:
            guess = did_you_mean(workflow_id, self.rt.definitions)
            raise Refusal(404, f"there is no workflow {workflow_id[:128]!r} here{guess}")
        return found

    @staticmethod
    def check_startable(workflow_id: str) -> None:
        """Raises Refusal when the workflow is none that callers start."""
        if workflow_id in OWN_WORKFLOWS:
            raise Refusal(403, f"workflow {workflow_id!r} is of wrkflw itself, which alone starts it")

    async def definition_of(self, run_id: str) -> Definition:
        """The workflow of a run.  Raises RunNotFoundError, and Refusal when the workflow is not known here."""
        return self.definition((await self.rt.runs.located(run_id)).workflow_name)

    @staticmethod
    def workflow_of(definition: Definition) -> Workflow[Any, Any, Any]:
        """The workflow as its author made it."""
        return cast("Workflow[Any, Any, Any]", definition.workflow)


OWN_WORKFLOWS = frozenset({"mail-quarantine"})
"""Those of wrkflw itself: a run of it is a mail that came."""
SAFE_METHODS = frozenset({"GET", "HEAD"})
