"""The short way under ``/workflows``: its session in a shell, line by line, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.clocks import ManualClock, settle
from wrkflw import Event, Runtime, StepTools, workflow
from wrkflw.server import app
from wrkflw.worlds.sqlite import SqliteWorld

from .desk import ADA, Desk, client_of
from .sockets import listening

JSON = "Content-Type: application/json"


class TestPayload(BaseModel):
    __test__ = False
    name: str


class TestResult(BaseModel):
    __test__ = False
    message: str
    greeting: str


class Approval(BaseModel):
    approved: bool


approval = Event("approval", Approval)


def hello(name: str) -> str:
    return f"Hello, {name}!"


@workflow(id="test")
async def plan(step: StepTools, payload: TestPayload) -> TestResult:
    """The workflow of the plan, as a program of ours."""
    greeting = await step.do("greet", hello, payload.name)
    await step.sleep("pause", "5s")
    answer = await step.wait_for_event(approval, timeout="1m")
    message = f"{payload.name} was {'approved' if answer.approved else 'rejected'}"
    return TestResult(message=message, greeting=greeting)


async def curl(*arguments: str) -> tuple[int, Any]:
    """What a line of the session is answered: the status, and the body."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-s", "-w", "\n%{http_code}", *arguments, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    body, _, status = said.decode().rpartition("\n")
    return int(status), json.loads(body)


async def rest(base: str) -> None:
    """Until the run goes no further by itself."""
    await curl(f"{base}/api/runs/test-1/result?wait=1s")


@pytest.mark.skipif(shutil.which("curl") is None, reason="NOT TRIED: there is no curl here")
async def test_the_session_of_the_plan_goes_as_it_says() -> None:
    clock = ManualClock()
    async with Runtime(":memory:", workflows=[plan], clock=clock) as rt, listening(rt) as place:
        base = f"http://localhost:{place.port}"

        body = '{"type":"test","id":"test-1","payload":{"name":"World"}}'
        assert await curl("-X", "POST", f"{base}/workflows", "-H", JSON, "-d", body) == (
            201,
            {"id": "test-1", "type": "test", "status": "running"},
        )

        await rest(base)
        status, told = await curl(f"{base}/workflows/test-1")
        greet, pause = told["steps"]
        assert (status, told["status"]) == (200, "sleeping")
        assert (greet["name"], greet["status"], greet["result"]) == ("greet", "completed", "Hello, World!")
        assert (pause["name"], pause["type"], pause["status"]) == ("pause", "sleep", "sleeping")

        clock.turn(timedelta(seconds=6))  # its `sleep 6`
        await rest(base)
        assert (await curl(f"{base}/workflows/test-1"))[1]["status"] == "waiting"

        line = ["-X", "POST", f"{base}/workflows/test-1/events/approval", "-H", JSON, "-d", '{"approved":true}']
        assert await curl(*line) == (200, {"id": "test-1", "event": "approval", "status": "delivered"})

        await rest(base)
        status, told = await curl(f"{base}/workflows/test-1")
        assert told["status"] == "completed"
        assert told["result"] == {"message": "World was approved", "greeting": "Hello, World!"}
        assert [(step["name"], step["status"]) for step in told["steps"]] == [
            ("greet", "completed"),
            ("pause", "completed"),
            ("approval", "completed"),
        ]

        status, listed = await curl(f"{base}/workflows?type=test")
        assert (status, listed["type"]) == (200, "test")
        assert [(one["id"], one["status"]) for one in listed["instances"]] == [("test-1", "completed")]


# --- beside the session --------------------------------------------------------------------------------------


async def create(desk: Desk, type: str, id: str) -> None:
    answer = await desk.client.post("/workflows", json={"type": type, "id": id, "payload": ADA})
    assert answer.status_code == 201
    await desk.client.get(f"/api/runs/{id}/result?wait=1s")


async def test_the_root_tells_the_workflows(desk: Desk) -> None:
    told = (await desk.client.get("/")).json()

    assert told["status"] == "ok"
    assert "greeting" in told["workflows"]


async def test_an_unknown_type_is_said_to_be(desk: Desk) -> None:
    answer = await desk.client.post("/workflows", json={"type": "tset", "id": "x", "payload": ADA})

    assert (answer.status_code, answer.json()) == (400, {"error": 'Unknown workflow type: "tset"'})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"type": "greeting", "id": "x", "payload": {"name": 1}}, 422),
        ({"type": "greeting", "id": "../x", "payload": ADA}, 422),
        ({"type": "greeting", "id": "", "payload": ADA}, 422),
        ({"type": "greeting", "payload": ADA}, 422),
        ({"type": "greeting", "id": "x", "payload": ADA, "extra": 1}, 422),
        ([], 422),
    ],
)
async def test_what_can_be_no_run_is_refused(desk: Desk, body: object, status: int) -> None:
    answer = await desk.client.post("/workflows", json=body)

    assert answer.status_code == status
    assert (await desk.rt.runs.list()).data == []


async def test_an_id_is_used_once(desk: Desk) -> None:
    await create(desk, "greeting", "x")

    answer = await desk.client.post("/workflows", json={"type": "greeting", "id": "x", "payload": ADA})

    assert (answer.status_code, answer.json()["error"]) == (409, "RunExistsError")


async def test_a_run_is_paused_goes_on_and_is_terminated(desk: Desk) -> None:
    await create(desk, "sleeping", "x")

    async def status() -> str:
        return str((await desk.client.get("/workflows/x")).json()["status"])

    assert await status() == "sleeping"
    assert (await desk.client.post("/workflows/x/pause")).json() == {"id": "x", "status": "paused"}
    assert await status() == "paused"
    assert (await desk.client.post("/workflows/x/resume")).json() == {"id": "x", "status": "running"}
    assert (await desk.client.post("/workflows/x/terminate")).json() == {"id": "x", "status": "terminated"}
    assert await status() == "terminated"
    assert (await desk.client.post("/workflows/x/pause")).status_code == 409


async def test_a_run_that_has_ended_is_not_terminated(desk: Desk) -> None:
    await create(desk, "greeting", "x")

    assert (await desk.client.post("/workflows/x/terminate")).status_code == 409


async def test_a_run_that_failed_tells_why(desk: Desk) -> None:
    await create(desk, "failing", "x")

    told = (await desk.client.get("/workflows/x")).json()

    assert (told["status"], told["error"], told["result"]) == ("errored", "no greeting for Ada", None)
    assert (told["steps"][0]["status"], told["steps"][0]["attempts"]) == ("failed", 1)


async def test_an_event_that_did_not_come_in_time_is_told(desk: Desk) -> None:
    await create(desk, "test", "x")
    for seconds in (5, 60):
        desk.clock.turn(timedelta(seconds=seconds))
        await desk.client.get("/api/runs/x/result?wait=1s")

    last = (await desk.client.get("/workflows/x")).json()["steps"][-1]

    assert (last["name"], last["type"], last["status"]) == ("approval", "wait_for_event", "failed")
    assert last["error"] == 'Event "approval" timed out'


async def test_runs_are_listed_by_type_and_status(desk: Desk) -> None:
    for id, type in (("a", "greeting"), ("b", "sleeping"), ("c", "sleeping"), ("d", "deciding")):
        await create(desk, type, id)

    async def listed(query: str) -> list[str]:
        return [one["id"] for one in (await desk.client.get(f"/workflows?{query}")).json()["instances"]]

    everything = (await desk.client.get("/workflows?limit=1")).json()["workflows"]
    assert await listed("type=sleeping") == ["c", "b"]
    assert await listed("type=sleeping&limit=1") == ["c"]
    assert await listed("type=greeting&status=completed") == ["a"]
    assert await listed("type=deciding&status=waiting") == ["d"]
    assert await listed("type=sleeping&status=running") == []
    assert {one["type"]: [run["id"] for run in one["instances"]] for one in everything if one["instances"]} == {
        "greeting": ["a"],
        "sleeping": ["c"],
        "deciding": ["d"],
    }


async def test_a_short_sleep_in_another_process_is_listed_as_such(tmp_path: Path) -> None:
    clock, file = ManualClock(), tmp_path / "shared.db"
    async with (
        Runtime(world=SqliteWorld(file, clock=clock), clock=clock, workflows=[plan]) as worker,
        Runtime(world=SqliteWorld(file, clock=clock), clock=clock, workflows=[plan], worker=False) as rt,
        client_of(app(rt)) as client,
    ):
        await client.post("/workflows", json={"type": "test", "id": "x", "payload": {"name": "Ada"}})
        while not (await worker.runs.journal("x")).waits:
            await settle()
        told = (await client.get("/workflows?type=test")).json()["instances"]
        asked = (await client.get("/workflows?type=test&status=sleeping")).json()["instances"]

        assert [[one["status"] for one in listed] for listed in (told, asked)] == [["sleeping"], ["sleeping"]]
