"""Requests that start runs: endpoints of workflows, open, with a token or signed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from wrkflw import DefinitionError, Runtime, create_workflow
from wrkflw.server import Token, app
from wrkflw.triggers import HttpRequest, StandardWebhooks, http

from .desk import ADA, AnyWorkflow, Desk, Greeting, Person, greet, served

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNING = StandardWebhooks(SECRET)


def signup() -> Any:
    return create_workflow(id="signup", input_schema=Person, output_schema=Greeting).then(greet).commit()


def person_of(request: HttpRequest) -> Person:
    return Person(name=request.query["user"])


@asynccontextmanager
async def at(workflow: AnyWorkflow, **options: Any) -> AsyncIterator[Desk]:
    async with served([workflow], **options) as desk:
        yield desk


async def names(desk: Desk) -> list[str]:
    """Whom there are runs for, oldest first."""
    runs = [run.run_id for run in (await desk.rt.runs.list()).data]
    inputs = [(await desk.rt.runs.snapshot(run)).input for run in reversed(runs)]
    return [person["name"] if isinstance(person, dict) else person.name for person in inputs]  # type: ignore[attr-defined]


# --- what the input is ---------------------------------------------------------------------------------------


async def test_a_request_starts_a_run_whose_input_is_its_body() -> None:
    workflow = signup()
    http(workflow, "POST /signup")

    async with at(workflow) as desk:
        answer = await desk.client.post("/signup", json=ADA)
        result = await desk.client.get(f"/api/runs/{answer.json()['run_id']}/result?wait=1s")

        assert (answer.status_code, answer.json()["workflow_id"]) == (202, "signup")
        assert result.json()["output"] == {"text": "Hello, Ada"}


async def test_a_function_makes_the_input_of_path_query_headers_and_body() -> None:
    workflow = signup()

    def all_of_it(request: HttpRequest) -> Person:
        parts = [request.method, request.path, request.params["team"], request.query["user"], request.headers["x-more"]]
        return Person(name=" ".join([*parts, request.json()["body"]]))

    workflow.on_http("PUT /teams/{team}/members", input=all_of_it)

    async with at(workflow) as desk:
        await desk.client.put("/teams/a/members?user=b&user=c", json={"body": "e"}, headers={"X-More": "d"})

        assert await names(desk) == ["PUT /teams/a/members a c d e"]


async def test_a_get_starts_a_run_of_its_query() -> None:
    workflow = signup()
    http(workflow, "GET /signup", input=person_of)

    async with at(workflow) as desk:
        assert (await desk.client.get("/signup?user=Ada")).status_code == 202
        assert await names(desk) == ["Ada"]


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b'{"name": 1}', "application/json", 422),
        (b"{", "application/json", 400),
        (b'{"name":"a","name":"b"}', "application/json", 400),
        (b'{"name": "Ada"}', "text/plain", 415),
        (b"", "application/json", 422),
    ],
)
async def test_a_body_that_is_no_input_is_refused(content: bytes, content_type: str, status: int) -> None:
    workflow = signup()
    http(workflow, "POST /signup")

    async with at(workflow) as desk:
        answer = await desk.client.post("/signup", content=content, headers={"Content-Type": content_type})

        assert answer.status_code == status
        assert await names(desk) == []


async def test_a_request_of_which_the_function_makes_nothing_is_refused_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    workflow = signup()
    http(workflow, "POST /signup", input=person_of)

    async with at(workflow) as desk:
        answer = await desk.client.post("/signup")

        assert answer.json()["detail"] == "the request makes no input of workflow 'signup'"
        assert answer.status_code == 422
        assert "KeyError('user')" in caplog.text
        assert not any(one.exc_info for one in caplog.records if one.levelno > logging.DEBUG), "strangers fill the log"
        assert await names(desk) == []


async def test_the_same_idempotency_key_starts_one_run_of_each_endpoint() -> None:
    workflow = signup()
    for path in ("/signup", "/join"):
        http(workflow, f"POST {path}")

    async with at(workflow) as desk:
        headers = {"Idempotency-Key": "7"}
        answers = [await desk.client.post(path, json=ADA, headers=headers) for path in ("/signup", "/signup", "/join")]

        first, second, third = [answer.json()["run_id"] for answer in answers]
        assert first == second != third


# --- who may call --------------------------------------------------------------------------------------------


async def test_an_endpoint_needs_a_token_that_may_start_unless_it_is_public() -> None:
    workflow = signup()
    http(workflow, "POST /signup")
    http(workflow, "POST /join", public=True)
    reader, starter = "r" * 40, "s" * 40

    async with at(workflow, tokens=[Token.of("r", reader, ["read"]), Token.of("s", starter, ["start"])]) as desk:
        for path, text, status in (
            ("/signup", None, 401),
            ("/signup", reader, 403),
            ("/signup", starter, 202),
            ("/join", None, 202),
        ):
            async with desk.caller(text) as client:
                assert (await client.post(path, json=ADA)).status_code == status


async def test_a_public_endpoint_is_still_no_place_for_pages_of_other_sites() -> None:
    workflow = signup()
    http(workflow, "POST /signup", public=True)

    async with at(workflow) as desk:
        answer = await desk.client.post("/signup", json=ADA, headers={"Origin": "http://evil.example"})

        assert answer.status_code == 403


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"}]
)
async def test_a_get_that_starts_runs_is_for_pages_of_other_sites_where_it_is_public_only(
    headers: dict[str, str],
) -> None:
    workflow = signup()
    http(workflow, "GET /signup", input=person_of)
    http(workflow, "GET /join", public=True, input=person_of)

    async with at(workflow) as desk:
        refused = await desk.client.get("/signup?user=Eve", headers=headers)
        allowed = await desk.client.get("/join?user=Ada", headers=headers)

        assert (refused.status_code, allowed.status_code) == (403, 202)
        assert await names(desk) == ["Ada"]


async def test_a_key_that_somebody_else_used_does_not_tell_the_public_of_which_run_it_is() -> None:
    workflow = signup()
    http(workflow, "POST /join", public=True)

    async with at(workflow, tokens=[Token.new("ci")[1]]) as desk:
        first, other = [
            await desk.client.post("/join", json={"name": name}, headers={"Idempotency-Key": "7"}) for name in "ab"
        ]

        assert other.status_code == 422
        assert first.json()["run_id"] not in other.text


# --- signed --------------------------------------------------------------------------------------------------


async def test_a_signed_request_starts_one_run_however_often_it_is_sent() -> None:
    workflow = signup()
    http(workflow, "POST /signup", verify=SIGNING)
    body = b'{"name": "Ada"}'

    async with at(workflow) as desk:
        headers = {"Content-Type": "application/json", **SIGNING.sign("msg_1", desk.clock.now(), body)}
        answers = await asyncio.gather(
            *[desk.client.post("/signup", content=body, headers=headers) for _ in range(5)],
        )

        assert {answer.status_code for answer in answers} <= {200, 202}
        assert len({answer.json()["run_id"] for answer in answers}) == 1
        assert await names(desk) == ["Ada"]


async def test_a_request_that_is_not_signed_as_it_should_be_is_not_read() -> None:
    workflow, called = signup(), list[HttpRequest]()

    def person(request: HttpRequest) -> Person:
        called.append(request)
        return Person(name="Eve")

    http(workflow, "POST /signup", verify=SIGNING, input=person)
    body = b'{"name": "Ada"}'

    async with at(workflow) as desk:
        good = {"Content-Type": "application/json", **SIGNING.sign("msg_1", desk.clock.now(), body)}
        for headers, content in (
            ({}, body),
            (good, b'{"name": "Eve"}'),
            ({**good, "webhook-id": "msg_2"}, body),
            ({**good, "webhook-timestamp": "1"}, body),
            ({**good, "webhook-signature": "v1,AAAA"}, body),
        ):
            answer = await desk.client.post("/signup", content=content, headers=headers)
            assert (answer.status_code, answer.json()["detail"]) == (401, "the request is not signed as it should be")
        desk.clock.turn(timedelta(minutes=5, seconds=1))
        assert (await desk.client.post("/signup", content=body, headers=good)).status_code == 401

        assert called == []
        assert await names(desk) == []


async def test_what_raises_lets_nobody_in() -> None:
    workflow = signup()

    def breaks(*_: object) -> str:
        raise MemoryError

    http(workflow, "POST /signup", verify=breaks)

    async with at(workflow) as desk:
        assert (await desk.client.post("/signup", json=ADA)).status_code == 401


@pytest.mark.parametrize("given", [False, True, "", b"msg_1"])
async def test_what_is_neither_an_id_nor_none_lets_nobody_in(given: object) -> None:
    workflow = signup()

    def verify(*_: object) -> Any:  # as somebody may write it who takes it for a question
        return given

    http(workflow, "POST /signup", verify=verify)

    async with at(workflow) as desk:
        assert (await desk.client.post("/signup", json=ADA)).status_code == 401
        assert await names(desk) == []


async def test_a_request_that_was_verified_may_have_no_id() -> None:
    workflow = signup()
    http(workflow, "POST /signup", verify=lambda *_: None)

    async with at(workflow) as desk:
        for _ in range(2):
            assert (await desk.client.post("/signup", json=ADA)).status_code == 202
        assert await names(desk) == ["Ada", "Ada"]


# --- definitions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_line", "message"),
    [
        ("signup", "'signup' cannot be an endpoint; write one of GET, POST, PUT, PATCH, DELETE and a path"),
        ("POST signup", "'POST signup' cannot be an endpoint"),
        ("post /signup", "'post /signup' cannot be an endpoint"),
        ("POST /sign up", "cannot be an endpoint"),
        ("POST /", "cannot be an endpoint"),
        ("POST /a/{b}/{b}", "names a part of its path twice; give each its own name"),
        ("POST /api/mine", "would stand before a route of the server; begin its path otherwise"),
        ("POST /workflows", "would stand before a route of the server"),
        ("POST /{anything}", "would stand before a route of the server"),
    ],
)
def test_what_can_be_no_endpoint_is_refused(request_line: str, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        http(signup(), request_line)
    assert message in str(caught.value)


def test_a_workflow_has_an_endpoint_once() -> None:
    workflow = signup()
    http(workflow, "POST /signup")

    with pytest.raises(DefinitionError, match="workflow 'signup' already has an endpoint 'POST /signup'"):
        http(workflow, "POST /signup")


def test_a_get_has_no_body_to_be_an_input() -> None:
    with pytest.raises(DefinitionError, match=r"endpoint 'GET /signup' has no body .* takes Person; pass input="):
        http(signup(), "GET /signup")


def test_an_input_function_gives_what_the_workflow_takes() -> None:
    def number(request: HttpRequest) -> int:
        return len(request.body)

    with pytest.raises(DefinitionError, match="input= of endpoint 'POST /signup' gives int, and workflow 'signup'"):
        http(signup(), "POST /signup", input=number)


def test_what_verifies_is_a_plain_function() -> None:
    async def function(request: HttpRequest, now: datetime) -> str:
        return "msg_1"

    class Method:
        async def __call__(self, request: HttpRequest, now: datetime) -> str:
            return "msg_1"

    for verify in (function, Method(), "whsec_AAAA"):
        with pytest.raises(DefinitionError, match="verify= of endpoint 'POST /signup' is no plain function"):
            http(signup(), "POST /signup", verify=verify)  # type: ignore[arg-type]


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="did you mean 'verify'"):
        http(signup(), "POST /signup", verfy=SIGNING)  # type: ignore[call-arg]


async def test_two_workflows_cannot_have_the_same_endpoint() -> None:
    first, second = signup(), signup().with_id("other")
    for workflow in (first, second):
        http(workflow, "POST /signup")

    async with Runtime(":memory:", workflows=[first, second]) as rt:
        with pytest.raises(
            DefinitionError, match="'POST /signup' of workflow 'signup' and 'POST /signup' of 'other' are"
        ):
            app(rt)


async def test_the_name_of_a_part_of_a_path_makes_no_other_endpoint() -> None:
    first, second = signup(), signup().with_id("other")
    http(first, "PUT /orders/{id}")
    http(second, "PUT /orders/{order_id}")

    with pytest.raises(DefinitionError, match=r"workflow 'signup' already has an endpoint 'PUT /orders/\{id\}'; give"):
        http(first, "PUT /orders/{number}")
    async with Runtime(":memory:", workflows=[first, second]) as rt:
        with pytest.raises(DefinitionError, match=r"'PUT /orders/\{order_id\}' of 'other' are the same; give one"):
            app(rt)


async def test_a_literal_path_goes_before_one_that_takes_it_for_a_name() -> None:
    one, latest = signup(), signup().with_id("latest")
    http(one, "PUT /orders/{id}")
    http(latest, "PUT /orders/latest")

    async with served([one, latest]) as desk:
        answers = [await desk.client.put(path, json=ADA) for path in ("/orders/latest", "/orders/1")]

    assert [answer.json()["workflow_id"] for answer in answers] == ["latest", "signup"]


async def test_a_function_that_raises_what_cancels_a_task_refuses_the_request(caplog: pytest.LogCaptureFixture) -> None:
    def cancelled(*_: object) -> Any:
        raise asyncio.CancelledError

    workflow = signup()
    http(workflow, "POST /made", input=cancelled)
    http(workflow, "POST /signed", verify=cancelled)

    async with at(workflow) as desk:
        answers = [await desk.client.post(path, json=ADA) for path in ("/made", "/signed")]

        assert [answer.status_code for answer in answers] == [422, 401]
        assert await names(desk) == []
