"""Health, metrics, and an application that is mounted in another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI

from tests.clocks import settle
from wrkflw import Runtime, create_workflow
from wrkflw.errors import StoreError, WrkflwError
from wrkflw.server import app, lifespan, problem_answer
from wrkflw.triggers import http

from .desk import ADA, Desk, Greeting, Person, client_of, greet, greeting, served, talk


async def test_a_server_is_ready_while_its_database_answers(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await desk.client.get("/readyz")).status_code == 200

    async def fails(*_: object) -> None:
        raise StoreError("disk on fire at /secret/path")

    monkeypatch.setattr(type(desk.rt.world.storage.runs), "next_due", fails)
    desk.clock.turn(timedelta(seconds=1))
    answer = await desk.client.get("/readyz")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["detail"] == "the database does not answer, or takes nothing"
    assert (await desk.client.get("/healthz")).status_code == 200


async def test_a_server_is_not_ready_while_nothing_can_be_written(desk: Desk) -> None:
    disk = cast("Any", desk.rt.world)._write
    answers: list[int] = []
    for refuses in (False, True, False):
        disk.text(f"PRAGMA query_only = {refuses}")
        desk.clock.turn(timedelta(seconds=1))
        answers.append((await desk.client.get("/readyz")).status_code)

    assert answers == [200, 503, 200]


async def test_all_who_ask_at_a_time_whether_a_server_is_ready_have_one_thing_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[None] = []
    storage = type(desk.rt.world.storage)
    check = storage.check_writable

    async def counted(self: Any) -> None:
        written.append(None)
        await check(self)

    monkeypatch.setattr(storage, "check_writable", counted)
    answers = await asyncio.gather(*(desk.client.get("/readyz") for _ in range(20)))

    assert [answer.status_code for answer in answers] == [200] * 20
    assert len(written) == 1


async def test_a_clock_that_was_set_back_proves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await desk.client.get("/readyz")).status_code == 200

    async def fails(_: object) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(type(desk.rt.world.storage), "check_writable", fails)
    desk.clock.turn(timedelta(hours=-1))

    assert (await desk.client.get("/readyz")).status_code == 503


async def test_a_server_is_ready_a_while_longer_when_another_process_holds_its_database(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await desk.client.get("/readyz")).status_code == 200

    async def hangs(_: object) -> None:
        await released.wait()

    released, answers = asyncio.Event(), list[int]()
    with monkeypatch.context() as held:
        held.setattr(type(desk.rt.world.storage), "check_writable", hangs)
        for passed in ("1s", "30s"):
            desk.clock.turn(passed)
            asked = asyncio.ensure_future(desk.client.get("/readyz"))
            await settle()
            desk.clock.turn(timedelta(milliseconds=500))
            answers.append((await asked).status_code)
        released.set()
        await settle()

    assert answers == [200, 503]
    assert (await desk.client.get("/readyz")).status_code == 200


async def test_what_cannot_be_recorded_is_to_be_sent_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise StoreError("disk on fire at /secret/path")

    monkeypatch.setattr(type(desk.rt.world.storage.events), "create", fails)
    answer = await desk.client.post("/api/workflows/greeting/runs", json=ADA)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["detail"] == "storage could not take it; send it again, with the same Idempotency-Key"


async def test_requests_and_events_are_counted_for_prometheus(desk: Desk) -> None:
    await desk.start("greeting")
    for id in ("a", "b"):
        await desk.client.get(f"/api/runs/{id}")
    await desk.client.request("BREW", "/nowhere")

    answer = await desk.client.get("/metrics")
    lines = answer.text.splitlines()

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'wrkflw_http_requests_total{method="GET",route="/api/runs/{run_id}",status="404"} 2' in lines
    assert 'wrkflw_http_requests_total{method="other",route="none",status="404"} 1' in lines
    assert 'wrkflw_http_request_duration_seconds_count{route="/api/runs/{run_id}"} 2' in lines
    assert 'wrkflw_http_request_duration_seconds_bucket{route="/api/runs/{run_id}",le="+Inf"} 2' in lines
    assert 'wrkflw_events_total{type="run_completed"} 1' in lines
    assert "wrkflw_runs_advancing 0" in lines
    assert "wrkflw_http_streams_open 0" in lines


async def test_the_events_of_a_runtime_are_counted_once_for_all_that_serve_it(desk: Desk) -> None:
    await desk.start("greeting")

    async with client_of(app(desk.rt)) as other:
        assert 'wrkflw_events_total{type="run_completed"} 1' in (await other.get("/metrics")).text


async def test_what_other_processes_commit_is_for_them_to_count(tmp_path: Path) -> None:
    url, told = f"sqlite:///{tmp_path}/app.db", asyncio.Event()
    rts = Runtime(url, worker=False), Runtime(url, workflows=[greeting])
    async with rts[0], rts[1], client_of(app(rts[0])) as here, client_of(app(rts[1])) as there:
        rts[0].world.subscribe(lambda _, types: told.set() if "run_completed" in types else None)
        await there.post("/api/workflows/greeting/runs?wait=10s", json=ADA)
        await told.wait()
        counted = ['{type="run_completed"} 1' in (await one.get("/metrics")).text for one in (here, there)]

    assert counted == [False, True]


async def test_each_family_of_metrics_says_what_it_is_before_it_counts(desk: Desk) -> None:
    await desk.start("greeting")

    known: set[str] = set()
    for line in (await desk.client.get("/metrics")).text.splitlines():
        if line.startswith("# TYPE "):
            known.add(line.split()[2])
        elif not line.startswith("#"):
            name = line.split("{")[0].split(" ")[0]
            assert {name, name.rsplit("_", 1)[0]} & known


# --- mounted -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def living(site: FastAPI) -> AsyncIterator[None]:
    """As a server has an application live, and what is mounted in it not."""
    async with site.router.lifespan_context(site):
        yield


def site_over(rt: Runtime, **options: Any) -> FastAPI:
    site = FastAPI(lifespan=lifespan(rt))
    site.mount("/flows", app(rt, **options))
    return site


async def test_a_mounted_application_lives_with_the_one_around_it() -> None:
    workflow = create_workflow(id="signup", input_schema=Person, output_schema=Greeting).then(greet).commit()
    http(workflow, "POST /signup")
    rt = Runtime(":memory:", workflows=[workflow])
    site = site_over(rt)

    async with client_of(site) as client:
        async with living(site):
            started = await client.post("/flows/api/workflows/signup/runs?wait=10s", json=ADA)
            by_endpoint = await client.post("/flows/signup", json=ADA)
            refused = await client.get("/flows/nowhere")
            contract = (await client.get("/flows/openapi.json")).json()
        closed = await client.get("/flows/api/runs")

    assert started.json()["output"] == {"text": "Hello, Ada"}
    assert by_endpoint.status_code == 202
    assert contract["servers"] == [{"url": "/flows"}]
    assert refused.headers["content-type"] == "application/problem+json"
    assert (closed.status_code, rt.is_open) == (503, False)


async def test_the_application_around_may_have_the_runtime_open_already() -> None:
    async with Runtime(":memory:", workflows=[greeting]) as rt:
        async with living(site_over(rt)):
            pass
        assert rt.is_open


async def test_routes_beside_the_mounted_ones_can_answer_as_they_do() -> None:
    async with Runtime(":memory:", workflows=[greeting]) as rt:
        site = site_over(rt)
        site.add_exception_handler(WrkflwError, problem_answer)

        @site.get("/mine/{run_id}")
        async def mine(run_id: str) -> str:
            return (await rt.runs.get(run_id)).status

        async with client_of(site) as client:
            own, ours = await client.get("/mine/r1"), await client.get("/flows/api/runs/r1")

    assert (own.status_code, own.headers["content-type"], own.json()) == (
        404,
        ours.headers["content-type"],
        ours.json(),
    )


async def test_what_is_mounted_is_larger_than_a_body_where_it_is_mounted() -> None:
    async def takes(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with Runtime(":memory:") as rt, client_of(site_over(rt, mounts={"/mail": takes})) as client:
        assert (await client.post("/flows/mail", content=b"x" * 2_000_000)).status_code == 204


@pytest.mark.parametrize("what", ["stream", "streams/default"])
async def test_a_run_that_was_kept_long_enough_has_no_streams(what: str) -> None:
    talk_once = create_workflow(id="talking", input_schema=Person, output_schema=Greeting, retention="1h")
    async with served([talk_once.then(talk).commit()]) as desk:
        run_id = await desk.start("talking")
        desk.clock.turn("1h")
        while (await desk.rt.runs.get(run_id)).expired_at is None:
            await settle()

        answer = await desk.client.get(f"/api/runs/{run_id}/{what}")

        assert (answer.status_code, answer.json()["error"]) == (410, "RunExpiredError")
