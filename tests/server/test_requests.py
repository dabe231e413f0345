"""Requests that cannot be taken: a clear refusal, and nothing recorded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.clocks import settle
from wrkflw import create_workflow, step
from wrkflw.asgi import Receive, Scope, Send
from wrkflw.server import ServerLimits, Token, app

from .desk import ADA, Desk, client_of, served

START = "/api/workflows/greeting/runs"
JSON = {"Content-Type": "application/json"}
PROBLEM = "application/problem+json"


@step
async def add_up(numbers: list[int]) -> int:
    return sum(numbers)


adding_up = create_workflow(id="sum", input_schema=list[int], output_schema=int).then(add_up).commit()


async def nothing_is_recorded(desk: Desk) -> bool:
    return (await desk.rt.runs.list()).data == []


# --- bodies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{", "the body is not JSON: Expecting property name"),
        (b'{"name": "Ada"} {}', "the body is not JSON: Extra data"),
        (b'{"name": "Ada", "name": "Eve"}', "the body is not JSON: 'name' is there twice"),
        (b'{"age": NaN, "name": "Ada"}', "the body is not JSON: NaN is no number"),
        (b'{"name": "\xff"}', "the body is not JSON: 'utf-8' codec can't decode"),
        (b'{"name": "\\ud800"}', "the body is not JSON: 'utf-8' codec can't encode"),
        (b'\xef\xbb\xbf{"name": "Ada"}', "the body is not JSON: Unexpected UTF-8 BOM"),
        (b"[" * 100_000, "the body is not JSON: nested too deep"),
        (b"[" * 201 + b"]" * 201, "the body is not JSON: nested too deep"),
        (b'{"age": 1' + b"0" * 5000 + b"}", "the body is not JSON: Exceeds the limit"),
    ],
)
async def test_what_is_not_json_is_refused(desk: Desk, body: bytes, detail: str) -> None:
    answer = await desk.client.post(START, content=body, headers=JSON)

    assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)
    assert answer.json()["detail"].startswith(detail)
    assert await nothing_is_recorded(desk)


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json; charset=utf-16",
        "application/json; charset=utf-7",
    ],
)
async def test_what_is_not_called_json_is_refused(desk: Desk, content_type: str) -> None:
    for path in (START, "/workflows", "/hooks/nobodys"):
        answer = await desk.client.post(path, content=json.dumps(ADA), headers={"Content-Type": content_type})

        assert (answer.status_code, answer.headers["content-type"]) == (415, PROBLEM)
    assert await nothing_is_recorded(desk)


async def test_utf_8_may_be_said(desk: Desk) -> None:
    headers = {"Content-Type": 'Application/JSON; charset="UTF-8"'}

    assert (await desk.client.post(START, content=json.dumps(ADA), headers=headers)).status_code == 202


async def test_a_name_that_is_there_twice_is_found_among_many(desk: Desk) -> None:
    names = [*range(80_000), "last", "last"]  # to compare each with each would take minutes
    body = "{" + ",".join(f'"{name}":1' for name in names) + "}"

    answer = await desk.client.post(START, content=body, headers=JSON)

    assert answer.json()["detail"] == "the body is not JSON: 'last' is there twice"


async def test_a_body_of_many_mistakes_is_not_answered_with_all_of_them() -> None:
    async with served([adding_up]) as desk:
        answer = await desk.client.post("/api/workflows/sum/runs", json=["one"] * 100_000)

    assert answer.status_code == 422
    assert len(answer.json()["problems"]) == 50
    assert len(answer.content) < 10_000


async def test_a_number_that_overflows_is_no_name(desk: Desk) -> None:
    answer = await desk.client.post(START, content=b'{"name": "Ada", "age": 1e999}', headers=JSON)

    assert answer.status_code == 422
    assert await nothing_is_recorded(desk)


# --- how large -----------------------------------------------------------------------------------------------


async def test_a_body_that_is_too_large_is_refused_by_what_it_says(desk: Desk) -> None:
    answer = await desk.client.post(START, content=b"", headers={**JSON, "Content-Length": "1048577"})

    assert (answer.status_code, answer.json()["detail"]) == (413, "a body has at most 1,048,576 bytes")


async def test_a_body_that_is_too_large_is_refused_by_what_it_is(desk: Desk) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 65536

    answer = await desk.client.post(START, content=endless(), headers=JSON)

    assert answer.status_code == 413
    assert sent < 20
    assert await nothing_is_recorded(desk)


@pytest.mark.parametrize("length", ["-1", "many", "1_0", "٣"])
async def test_a_length_that_is_no_number_is_refused(desk: Desk, length: str) -> None:
    answer = await desk.client.post(START, content=b"", headers=[(b"Content-Length", length.encode())])

    assert answer.status_code == 400


async def test_headers_that_are_too_large_are_refused(desk: Desk) -> None:
    answer = await desk.client.get("/api/runs", headers={"X-Much": "x" * 65536})

    assert (answer.status_code, answer.json()["detail"]) == (431, "headers have at most 65,536 bytes")


# --- how long, and how many ------------------------------------------------------------------------------------


async def test_a_body_that_does_not_come_in_time_is_given_up(desk: Desk) -> None:
    async def dripping() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await settle(5)
            desk.clock.turn(timedelta(seconds=3))

    answer = await desk.client.post(START, content=dripping(), headers=JSON)

    assert (answer.status_code, answer.json()["detail"]) == (408, "the body did not come in time")
    assert answer.headers["connection"] == "close"


async def test_one_request_too_many_is_to_come_again(desk: Desk) -> None:
    async with client_of(app(desk.rt, limits=ServerLimits(requests=1))) as client:
        run_id = await desk.start("deciding")
        waiting = asyncio.ensure_future(client.get(f"/api/runs/{run_id}/stream"))
        await settle()
        answer = await client.get("/api/runs")
        waiting.cancel()
        await asyncio.wait({waiting})
        await settle()
        later = await client.get("/api/runs")

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert later.status_code == 200


async def test_callers_whom_nobody_knows_leave_room_for_the_others(desk: Desk) -> None:
    text, token = Token.new("ci")

    async def endless() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    application = app(desk.rt, tokens=[token], limits=ServerLimits(requests=4))
    async with client_of(application) as stranger, client_of(application) as caller:
        caller.headers["Authorization"] = f"Bearer {text}"
        begun = asyncio.ensure_future(stranger.post("/hooks/nobodys", content=endless(), headers=JSON))
        await settle()
        refused = await stranger.post("/hooks/nobodys", json={})
        statuses = [(await caller.get(path)).status_code for path in ("/api/runs", "/healthz", "/readyz")]
        watched = [(await stranger.get(path)).status_code for path in ("/healthz", "/readyz")]
        begun.cancel()
        await asyncio.wait({begun})
        await settle()
        later = await stranger.post("/hooks/nobodys", json={})

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert statuses == [200, 200, 200]
    assert watched == [200, 200]
    assert later.status_code == 404


async def test_what_is_mounted_knows_its_callers_itself_and_takes_half_of_the_requests(desk: Desk) -> None:
    """It may know them only when it has read them: whoever sends it nothing does not keep out whom we know."""
    done = asyncio.Event()

    async def takes(scope: Scope, receive: Receive, send: Send) -> None:
        await done.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    text, token = Token.new("ci")
    application = app(desk.rt, tokens=[token], limits=ServerLimits(requests=4), mounts={"/mail": takes})
    async with client_of(application) as provider:
        begun = [asyncio.ensure_future(provider.post("/mail")) for _ in range(2)]
        await settle()
        refused = await provider.post("/mail")
        known = await provider.get("/api/runs", headers={"Authorization": f"Bearer {text}"})
        done.set()
        answers = [(await one).status_code for one in begun]

    assert answers == [204] * 2
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert known.status_code == 200


async def test_one_stream_too_many_is_to_come_again(desk: Desk) -> None:
    async with client_of(app(desk.rt, limits=ServerLimits(streams=1))) as client:
        run_id = await desk.start("deciding")
        watching = asyncio.ensure_future(client.get(f"/api/runs/{run_id}/stream"))
        await settle()
        answer = await client.get(f"/api/runs/{run_id}/stream")
        watching.cancel()
        await asyncio.wait({watching})
        await settle()
        later = await client.get(f"/api/runs/{run_id}/stream?until=parked")

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    assert later.status_code == 200


async def test_streams_that_are_opened_at_once_are_counted_too(desk: Desk) -> None:
    async with client_of(app(desk.rt, limits=ServerLimits(streams=2))) as client:
        run_id = await desk.start("greeting")
        answers = await asyncio.gather(*[client.get(f"/api/runs/{run_id}/stream") for _ in range(20)])
        later = await client.get(f"/api/runs/{run_id}/stream")

    assert [answer.status_code for answer in answers].count(200) < 20
    assert {answer.status_code for answer in answers} == {200, 429}
    assert later.status_code == 200


async def test_nobody_waits_longer_than_the_server_lets_them(desk: Desk) -> None:
    run_id = await desk.start("deciding")
    async with client_of(app(desk.rt, limits=ServerLimits(wait=timedelta(seconds=2)))) as client:
        begun = asyncio.ensure_future(client.post("/api/workflows/test/runs?wait=60s", json=ADA))
        await settle()
        desk.clock.turn(timedelta(seconds=2))
        answer = await begun

    assert run_id
    assert (answer.status_code, answer.json()["status"]) == (202, "waiting")


# --- names and numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "id", ["..%2f..%2fetc", "%2e%2e", "a%00b", "a%20b", "x" * 129, "x" * 4096, "wrün", "a;b", "a'--", "%F0%9F%92%A9"]
)
@pytest.mark.parametrize("path", ["/api/runs/{}", "/api/workflows/{}", "/workflows/{}", "/api/runs/nobody/streams/{}"])
async def test_what_can_be_no_id_is_refused(desk: Desk, path: str, id: str) -> None:
    answer = await desk.client.get(path.format(id))

    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=many",
        "status=done",
        "waiting_for=godot",
        "since=yesterday",
        "since=0.0",
        "until=1767225600",
        "since=2026-01-01T00:00:00",
        "attribute=team",
        "attribute==a",
        "cursor=",
        "workflow=" + "x" * 129,
    ],
)
async def test_a_listing_of_what_there_cannot_be_is_refused(desk: Desk, query: str) -> None:
    answer = await desk.client.get(f"/api/runs?{query}")

    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)


async def test_a_filter_that_is_misspelt_does_not_list_everything(desk: Desk) -> None:
    answer = await desk.client.get("/api/runs?sttus=failed")

    assert answer.status_code == 422
    assert answer.json()["problems"] == ["query.sttus: There is no such parameter; did you mean 'status'?"]


async def test_a_parameter_that_is_misspelt_starts_no_run(desk: Desk) -> None:
    """It would begin at once, where a delay was meant."""
    answer = await desk.client.post("/api/workflows/greeting/runs?dely=7d", json={"name": "Ada"})

    assert answer.status_code == 422
    assert answer.json()["problems"] == ["query.dely: There is no such parameter; did you mean 'delay'?"]


@pytest.mark.parametrize("cursor", ["nonsense", "'; DROP TABLE runs; --", "%00", "AAAA", "99999999999999999999"])
async def test_a_cursor_that_is_none_is_refused(desk: Desk, cursor: str) -> None:
    run_id = await desk.start("greeting")

    for path in ("/api/runs", f"/api/runs/{run_id}/events"):
        answer = await desk.client.get(path, params={"cursor": cursor})
        assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)


@pytest.mark.parametrize("wait", ["10", "ten", "-1s", "1h", "10s;", "١s", "1s\n"])
async def test_a_wait_that_is_none_is_refused(desk: Desk, wait: str) -> None:
    answer = await desk.client.post(START, json=ADA, params={"wait": wait})

    assert answer.status_code == 422
    assert await nothing_is_recorded(desk)


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_an_idempotency_key_that_is_none_is_refused(desk: Desk, key: str) -> None:
    answer = await desk.client.post(START, json=ADA, headers={"Idempotency-Key": key})

    assert answer.status_code == 422
    assert await nothing_is_recorded(desk)


async def test_a_method_that_a_path_does_not_have_is_refused(desk: Desk) -> None:
    answer = await desk.client.put("/api/runs", json={})

    assert (answer.status_code, answer.headers["content-type"]) == (405, PROBLEM)
    assert answer.headers["allow"] == "GET"
    assert answer.json()["detail"] == "'/api/runs' takes GET only; GET /openapi.json lists them"


async def test_all_methods_that_a_path_has_are_told(desk: Desk) -> None:
    answer = await desk.client.put("/api/runs/x", json={})

    assert answer.headers["allow"] == "DELETE, GET"
    assert answer.json()["detail"] == "'/api/runs/x' takes DELETE, GET only; GET /openapi.json lists them"


@pytest.mark.parametrize("path", ["/api/run", "/api//runs", "/api/runs/", "/API/runs", "/docs"])
async def test_a_path_that_there_is_not_is_refused(desk: Desk, path: str) -> None:
    answer = await desk.client.get(path)

    assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)
    assert answer.json()["detail"] == f"{path!r} is none of the paths here; GET /openapi.json lists them"


# --- when the server cannot -----------------------------------------------------------------------------------------


async def test_a_runtime_that_is_closed_is_said_to_be(desk: Desk) -> None:
    await desk.rt.close()

    for path in ("/api/runs", "/readyz", "/workflows"):
        answer = await desk.client.get(path)
        assert answer.status_code == 503
        assert answer.json()["detail"] == "the runtime is not open; mount the application with lifespan(rt)"
    assert (await desk.client.get("/healthz")).status_code == 200


async def test_what_nobody_expects_is_logged_and_not_told(
    desk: Desk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret of the house")

    monkeypatch.setattr(type(desk.rt.runs), "list", breaks)
    answer = await desk.client.get("/api/runs")

    assert (answer.status_code, answer.json()["detail"]) == (500, "the server failed; its log says why")
    assert "a secret of the house" in caplog.text
