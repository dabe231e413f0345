"""The endpoints of the workflows: requests that start runs."""

from __future__ import annotations

import logging
from asyncio import CancelledError

from starlette.requests import Request
from starlette.responses import Response

from wrkflw.asgi import headers_of
from wrkflw.births import Birth
from wrkflw.engine.definition import Definition
from wrkflw.errors import DefinitionError, WrkflwError
from wrkflw.run import Run
from wrkflw.triggers.endpoints import ANY, Endpoint, HttpRequest, NotVerifiedError, verified

from .bodies import check_content_type, check_json, read_body
from .parameters import IdempotencyKey
from .problems import Refusal
from .routes import Access, Routes
from .service import AnyRun, Service
from .workflow_routes import STARTED, enqueue, started

_log = logging.getLogger("wrkflw")


def endpoint_routes(service: Service) -> list[EndpointRoute]:
    """One for each endpoint of the workflows, those with literal paths before those that take them for a name.

    Raises DefinitionError when two of them have the same, whatever the names in it.
    """
    found: dict[tuple[str, ...], EndpointRoute] = {}
    for definition in service.rt.definitions.values():
        for endpoint in service.workflow_of(definition).endpoints:
            other = found.setdefault(endpoint.shape, EndpointRoute(service, definition, endpoint)).endpoint
            if other is not endpoint:
                both = f"{str(other)!r} of workflow {other.workflow.id!r} and {str(endpoint)!r} of {definition.id!r}"
                raise DefinitionError(f"endpoints {both} are the same; give one of them another path")
    return [found[shape] for shape in sorted(found, key=lambda shape: [part == ANY for part in shape])]


class EndpointRoute:
    def __init__(self, service: Service, definition: Definition, endpoint: Endpoint) -> None:
        self._service = service
        self._definition = definition
        self.endpoint = endpoint

    @property
    def _access(self) -> Access:
        if self.endpoint.verify is not None:
            return "signed"
        return "open" if self.endpoint.public else "start"

    def add_to(self, routes: Routes) -> None:
        takes_body = self.endpoint.method != "GET"
        typed = self._definition.input_schema.described() if self.endpoint.input is None else {}
        routes.add(
            self._access,
            str(self.endpoint),
            self.call,
            STARTED,
            body=typed if takes_body else None,
            body_required=False,
            name=f"call_{self._definition.id}_{1 + self.endpoint.workflow.endpoints.index(self.endpoint)}",
            documented=self.endpoint.input is None or self.endpoint.method != "GET",
        )

    async def call(self, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
        """Start a run."""
        service, definition = self._service, self._definition
        service.check_open()
        body = await read_body(request, service.limits, service.rt.clock)
        told = HttpRequest(
            request.method,
            request.url.path,
            request.path_params,
            dict(request.query_params),
            headers_of(request.scope),
            body,
        )
        message_id = self._verified(told)
        key = idempotency_key if message_id is None else message_id
        key_of_run = None if key is None else f"http:{self.endpoint}:{key}"
        run: AnyRun = Run(await Birth.of(service.rt, self.endpoint.workflow, idempotency_key=key_of_run))
        await enqueue(service, request, run, self._input(told))
        return await started(service, request, definition, run.run_id, None, may_exist=key is not None)

    def _verified(self, request: HttpRequest) -> str | None:
        """The id of what was sent, where it is signed.  Raises Refusal."""
        if self.endpoint.verify is None:
            return None
        try:
            return verified(self.endpoint.verify, request, self._service.rt.clock.now())
        except NotVerifiedError as error:
            _log.warning("a request to %s was turned away: %s", self.endpoint, error)
            raise Refusal(401, "the request is not signed as it should be") from None

    def _input(self, request: HttpRequest) -> object:
        """Raises Refusal, InvalidValueError."""
        make, schema, what = self.endpoint.input, self._definition.input_schema, f"input of {self._definition.id!r}"
        if make is None:
            if request.body:
                check_content_type(request.headers.get("content-type"))
                check_json(request.body)
            return schema.load(request.body or b"null", what)
        try:
            return make(request)
        except WrkflwError:
            raise
        except (Exception, CancelledError) as error:  # noqa: BLE001  # of the user's, too
            _log.warning("a request to %s makes no input: %.200r", self.endpoint, error)
            _log.debug("it was raised here", exc_info=error)  # a line at a time is what strangers may fill the log with
            raise Refusal(422, f"the request makes no input of workflow {self._definition.id!r}") from None
