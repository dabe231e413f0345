"""A route at work: who calls is looked at, the parameters are read, and the endpoint's answer is sent.

FastAPI writes the parameters of an endpoint into the document; its own way of reading them takes longer than all else
that becomes of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_origin

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from wrkflw.asgi import Receive, Scope, Send, header_of
from wrkflw.suggestions import did_you_mean

from .problems import Refusal

if TYPE_CHECKING:
    from fastapi._compat import ModelField
    from fastapi.dependencies.models import Dependant

Endpoint: TypeAlias = Callable[..., Coroutine[Any, Any, Response]]

_NO_QUERY = QueryParams()


class Calling:
    """An ASGI application of one endpoint.  ``check`` may refuse a caller, before anything else is looked at.

    ``is_ours``: it is of the API, and not of the application.
    """

    def __init__(
        self, endpoint: Endpoint, dependant: Dependant, check: Callable[[Request], None] | None, *, is_ours: bool
    ) -> None:
        self._endpoint = endpoint
        self._check = check
        self._is_ours = is_ours
        self._request = dependant.request_param_name
        self._path = [_Parameter(field, "path") for field in dependant.path_params]
        self._query = [_Parameter(field, "query") for field in dependant.query_params]
        self._headers = [_Parameter(field, "header") for field in dependant.header_params]
        self._without_query: dict[str, Any] = {}
        self._query_problems: list[str] = []
        for parameter in self._query:
            parameter.read(_NO_QUERY, self._without_query, self._query_problems)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        if self._check is not None:
            self._check(request)
        values = self._read(request)
        if self._request is not None:
            values[self._request] = request
        response = await self._endpoint(**values)
        await response(scope, receive, send)

    def _read(self, request: Request) -> dict[str, Any]:
        """The parameters by their names.  Raises Refusal."""
        values: dict[str, Any] = {}
        problems: list[str] = []
        for parameter in self._path:
            parameter.read(request.path_params, values, problems)
        if request.scope["query_string"]:
            self._read_query(request, values, problems)
        else:
            values |= self._without_query
            problems += self._query_problems
        for parameter in self._headers:
            parameter.take(header_of(request.scope, parameter.name.encode()), values, problems)
        if problems:
            raise Refusal(422, f"the request does not fit: {problems[0]}", problems=problems)
        return values

    def _read_query(self, request: Request, values: dict[str, Any], problems: list[str]) -> None:
        query = request.query_params
        for parameter in self._query:
            parameter.read(query, values, problems)
        # Who posts to an endpoint of the application's own may be a webhook, which adds words of its own.
        if self._query and (request.method == "GET" or self._is_ours):
            problems += [_unknown(name, self._query) for name in query if all(name != one.name for one in self._query)]


def _unknown(name: str, known: Sequence[_Parameter]) -> str:
    """A listing that misreads its filter would show everything."""
    return f"query.{name}: There is no such parameter{did_you_mean(name, [one.name for one in known])}"


class _Parameter:
    """One parameter: where it stands, under which name, and of which type."""

    def __init__(self, field: ModelField, place: str) -> None:
        self._field = field
        self.name = field.alias.replace("_", "-").lower() if place == "header" else field.alias
        self._where = f"{place}.{self.name}"
        annotation: Any = field.field_info.annotation
        self._is_list = list in (get_origin(annotation), *map(get_origin, get_args(annotation)))
        self._default: object = field.get_default()

    def read(self, given: Mapping[str, Any], values: dict[str, Any], problems: list[str]) -> None:
        """Put it among the values, or say what is wrong with it."""
        if isinstance(given, QueryParams) and self._is_list:
            found: object = given.getlist(self.name) or None
        else:
            found = given.get(self.name)
        self.take(found, values, problems)

    def take(self, found: object, values: dict[str, Any], problems: list[str]) -> None:
        """The same of what was found, if anything was."""
        if found is not None:
            value, errors = self._field.validate(found)
            values[self._field.name] = value
            problems += [f"{'.'.join(map(str, (self._where, *one['loc'])))}: {one['msg']}" for one in errors]
        elif self._field.field_info.is_required():
            problems.append(f"{self._where}: Field required")
        else:
            values[self._field.name] = self._default
