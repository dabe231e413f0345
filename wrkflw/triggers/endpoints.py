"""Endpoints, as the code has them: a workflow, where requests come in for it, and what each run begins with."""

from __future__ import annotations

import json
import re
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeVar, Unpack, cast

from wrkflw.errors import DefinitionError
from wrkflw.names import check_options, describe

from .inputs import check_input

if TYPE_CHECKING:
    from wrkflw.workflows import Workflow

    from .inputs import AnyWorkflow

InputT = TypeVar("InputT")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_PATH = re.compile(r"(/([A-Za-z0-9._~-]+|\{[a-z_][a-z0-9_]*\}))+")
_OURS = frozenset({"api", "hooks", "workflows", "healthz", "readyz", "metrics", "openapi.json"})
"""What the paths of the server's own routes begin with."""
ANY = "{}"
"""A part of a path that has a name, whatever that is."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What an input function is told.

    Attributes:
        params: what stood in the path for its ``{names}``.
        query: of a name that came twice, the last.
        headers: their names are in small letters.
        body: as it came.
    """

    method: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read as JSON.  Raises ValueError when it is none."""
        return json.loads(self.body)


class Verify(Protocol):
    """Says whether a request comes from whom it is to come from."""

    def __call__(self, request: HttpRequest, now: datetime, /) -> str | None:
        """The id of what was sent, under which a repetition is known; None where it has none.

        Whatever it raises, and when it gives anything else (``False``, say), the request is answered 401, and nothing
        is recorded.
        """
        ...


class NotVerifiedError(Exception):
    """The request may come from anybody; the message says what ``verify=`` has against it."""


def verified(verify: Verify, request: HttpRequest, now: datetime) -> str | None:
    """What ``verify`` gives.  Raises NotVerifiedError where it raises, or gives neither an id nor None."""
    try:
        found = cast("object", verify(request, now))  # not all are typed
    except (Exception, CancelledError) as error:  # of the user's: whatever it is, it lets nothing in
        raise NotVerifiedError(str(error)) from error
    if found is None or (isinstance(found, str) and found):
        return found
    raise NotVerifiedError(f"verify= is to give an id or None, or to raise, and gave {found!r}")


def check_verify(what: str, verify: object) -> None:
    """What is awaited by nobody would let nobody in.  Raises DefinitionError."""
    if not callable(verify) or iscoroutinefunction(verify) or iscoroutinefunction(type(verify).__call__):
        raise DefinitionError(f"verify= of {what} is no plain function; pass one of a request and the time")


class EndpointOptions(TypedDict, total=False):
    """Options every endpoint takes.

    ``verify`` checks the signature of a request, before anything else of it is read: see :class:`StandardWebhooks`.
    With ``public=True`` anybody may call.  Without either, a request needs a token that permits ``start``.
    """

    verify: Verify
    public: bool


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint of a workflow, as :func:`http` has made it."""

    workflow: AnyWorkflow
    method: str
    path: str
    input: Callable[[HttpRequest], Any] | None
    verify: Verify | None
    public: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def shape(self) -> tuple[str, ...]:
        """Method and parts of the path, with one word for all names: of two that are the same, one is never called."""
        return self.method, *(ANY if part.startswith("{") else part for part in self.path.split("/"))


def http(
    workflow: Workflow[InputT, object, Any],
    request: str,
    /,
    *,
    input: Callable[[HttpRequest], InputT] | None = None,
    **options: Unpack[EndpointOptions],
) -> Endpoint:
    """Let a request start a run of the workflow, where :mod:`wrkflw.server` serves it.

    ``request`` is method and path, ``"POST /signup"`` or ``"PUT /orders/{order_id}"``.  ``input`` makes the input of a
    run from the :class:`HttpRequest`; without it, that is the JSON of the body.  The answer comes when the run is
    recorded.  The same ``Idempotency-Key``, or id of a signed message, is the same run.

    Raises:
        DefinitionError: method or path cannot be one; a route of the server has that path; the workflow has the
            endpoint already; ``input`` is no function of a request that gives what the workflow takes; ``verify`` is no
            plain function; or a GET is to give an input, and there is no ``input=``.
        TypeError: an option is unknown.
    """
    return endpoint_of(workflow, request, input, options)


def endpoint_of(
    workflow: AnyWorkflow,
    request: str,
    input: Callable[[HttpRequest], object] | None,
    options: EndpointOptions,
) -> Endpoint:
    """Give the workflow the endpoint, once it is checked."""
    check_options(options, EndpointOptions.__annotations__)
    method, path = _read(request)
    endpoint = Endpoint(workflow, method, path, input, options.get("verify"), options.get("public", False))
    if (other := next((one for one in workflow.endpoints if one.shape == endpoint.shape), None)) is not None:
        raise DefinitionError(f"workflow {workflow.id!r} already has an endpoint {str(other)!r}; give it another path")
    if input is not None:
        check_input(f"endpoint {request!r}", workflow, input, "an HttpRequest")
    elif method == "GET" and workflow.input_schema not in (None, type(None)):
        needs = f"workflow {workflow.id!r} takes {describe(workflow.input_schema)}"
        raise DefinitionError(f"endpoint {request!r} has no body to be an input, and {needs}; pass input=")
    if endpoint.verify is not None:
        check_verify(f"endpoint {request!r}", endpoint.verify)
    workflow.endpoints = (*workflow.endpoints, endpoint)
    return endpoint


def _read(request: str) -> tuple[str, str]:
    method, _, path = request.partition(" ")
    if method not in METHODS or not _PATH.fullmatch(path):
        known = ", ".join(METHODS)
        raise DefinitionError(
            f"{request!r} cannot be an endpoint; write one of {known} and a path, as in 'POST /signup'"
        )
    check_path(path, f"endpoint {request!r}")
    names = re.findall(r"\{(.*?)\}", path)
    if len(set(names)) < len(names):
        raise DefinitionError(f"endpoint {request!r} names a part of its path twice; give each its own name")
    return method, path


def check_path(path: str, what: str) -> None:
    """Raises DefinitionError when it would stand before a route of the server."""
    first = path.split("/")[1] if path.startswith("/") else "{}"
    if first in _OURS or first.startswith("{") or path.endswith("/"):
        raise DefinitionError(f"{what} would stand before a route of the server; begin its path otherwise")
