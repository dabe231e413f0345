"""What is handed in to a run: answers by step or by token, events, and forks of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from wrkflw import Event, StepTools, SuspendContext, create_workflow, step, workflow

from .desk import ADA, AnyWorkflow, Approval, Desk, Greeting, Person, ask, greet, served


@step
async def approve(call: str, ctx: SuspendContext[Approval, str]) -> bool:
    return ctx.suspend(call).approved


async def approved(tools: StepTools, call: str) -> bool:
    return await tools.run(approve, call)


APPROVED = {"approved": True}
TOOLS = {"approve": approve}


@workflow
async def naming(tools: StepTools, call: str) -> bool:
    return await tools.run(approve, call, name=f"approve-{call}")


@workflow
async def helped(tools: StepTools, call: str) -> bool:
    return await approved(tools, call)


@workflow
async def looking_up(tools: StepTools, call: str) -> bool:
    return await tools.run(TOOLS["approve"], call)


@step(id="hidden")
async def _approve(call: str, ctx: SuspendContext[Approval, str]) -> bool:
    return ctx.suspend(call).approved


CABINET = SimpleNamespace(ask=_approve)
del _approve


@workflow
async def hiding(tools: StepTools, call: str) -> bool:
    return bool(await tools.run(CABINET.ask, call))


done, done_elsewhere = Event("done", Approval), Event("done", int)


def count(call: str) -> int:
    return count_elsewhere(call)


def count_elsewhere(call: str) -> int:
    return len(call) + len(done_elsewhere.name)


@workflow
async def waiting(tools: StepTools, call: str) -> bool:
    count(call)
    return (await tools.wait_for_event(done)).approved


@workflow
async def waiting_unseen(tools: StepTools, call: str) -> bool:
    count(call)
    return (await tools.wait_for_event(Event("done", Approval))).approved


PROGRAMS = [(naming, "approve-x"), (helped, "approve"), (looking_up, "approve")]


def first(both: tuple[Greeting, Greeting]) -> Greeting:
    return both[0]


async def test_a_suspension_is_answered_by_its_step(desk: Desk) -> None:
    run_id = await desk.start("asking")

    body = {"step": "ask", "data": {"approved": True}}
    answer = await desk.client.post(f"/api/runs/{run_id}/resume?wait=10s", json=body)
    again = await desk.client.post(f"/api/runs/{run_id}/resume", json=body)

    assert (answer.status_code, answer.json()["output"]) == (200, {"text": "Hello"})
    assert (again.status_code, again.json()["error"]) == (409, "NotSuspendedError")


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"step": "ask", "data": {"approved": "perhaps"}}, 422, "InvalidValueError"),
        ({"step": "aks", "data": {"approved": True}}, 404, "UnknownStepError"),
        ({"step": "ask", "data": {"approved": True}, "at": "ask#2"}, 409, "NotSuspendedError"),
        ({"data": {"approved": True}}, 422, "InvalidValueError"),
        ({"step": "ask", "answer": True}, 422, "InvalidValueError"),
    ],
)
async def test_a_wrong_answer_changes_nothing(desk: Desk, body: object, status: int, error: str) -> None:
    run_id = await desk.start("asking")

    answer = await desk.client.post(f"/api/runs/{run_id}/resume", json=body)

    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert (await desk.rt.runs.get(run_id)).waiting_for == "suspended"


async def test_an_answer_for_a_step_that_asks_nothing_is_told_what_does(desk: Desk) -> None:
    flow = create_workflow(id="both", input_schema=Person, output_schema=Greeting).parallel(ask, greet).map(first)
    desk.rt.define(flow.commit())
    run_id = await desk.start("both")

    answer = await desk.client.post(f"/api/runs/{run_id}/resume", json={"step": "greet", "data": {"approved": True}})

    assert answer.status_code == 409
    assert answer.json()["detail"] == f"step 'greet' of run {run_id!r} is not suspended; open: 'ask'"


@pytest.mark.parametrize(("program", "key"), PROGRAMS)
@pytest.mark.parametrize("how", ["token", "step", "key", "both"])
async def test_a_step_that_a_program_calls_is_answered_whatever_it_is_called(
    program: AnyWorkflow, key: str, how: str
) -> None:
    bodies = {"step": {"step": "approve"}, "key": {"step": key}, "both": {"step": "approve", "at": key}}
    async with served([program]) as desk:
        parked = (await desk.client.post(f"/api/workflows/{program.id}/runs?wait=1s", json="x")).json()
        if how == "token":
            answer = await desk.client.post(f"/hooks/{parked['suspensions'][0]['token']}?wait=1s", json=APPROVED)
        else:
            path = f"/api/runs/{parked['run_id']}/resume?wait=1s"
            answer = await desk.client.post(path, json=bodies[how] | {"data": APPROVED})

    assert (answer.status_code, answer.json().get("output")) == (200, True)


async def test_an_answer_by_key_goes_to_the_call_of_that_key() -> None:
    @workflow
    async def both(tools: StepTools, call: str) -> list[bool]:
        asked = (tools.run(approve, call, name=f"approve-{name}") for name in "xy")
        return list(await asyncio.gather(*asked))

    async with served([both]) as desk:
        run_id = await desk.start("both", "now")
        for name, said in (("y", False), ("x", True)):
            body = {"step": f"approve-{name}", "data": {"approved": said}}
            await desk.client.post(f"/api/runs/{run_id}/resume?wait=1s", json=body)
        ended = await desk.client.get(f"/api/runs/{run_id}")

    assert ended.json()["result"] == [True, False]


async def test_a_step_that_the_code_of_a_program_does_not_show_is_declared() -> None:
    body = {"step": "hidden", "data": APPROVED}
    async with served([hiding]) as desk:
        refused = await desk.client.post(f"/api/runs/{await desk.start('hiding', 'x')}/resume", json=body)
    async with served([hiding], steps=[CABINET.ask]) as desk:
        answer = await desk.client.post(f"/api/runs/{await desk.start('hiding', 'x')}/resume?wait=1s", json=body)

    assert (refused.status_code, refused.json()["error"]) == (404, "UnknownStepError")
    assert answer.json()["output"] is True


async def test_an_event_is_handed_in_once_for_its_idempotency_key(desk: Desk) -> None:
    run_id = await desk.start("deciding")

    path, key = f"/api/runs/{run_id}/events/approval", {"Idempotency-Key": "mail-3"}
    answer = await desk.client.post(f"{path}?wait=10s", json={"approved": True}, headers=key)
    again = await desk.client.post(path, json={"approved": True}, headers=key)
    other = await desk.client.post(path, json={"approved": False}, headers=key)

    assert answer.json()["output"] == {"approved": True}
    assert again.status_code == 200
    assert other.status_code == 409


async def test_an_event_that_a_workflow_never_waits_for_is_not_found(desk: Desk) -> None:
    for id in ("deciding", "test"):
        run_id = await desk.start(id)

        answer = await desk.client.post(f"/api/runs/{run_id}/events/aproval", json={"approved": True})

        assert (answer.status_code, answer.json()["error"]) == (404, "UnknownEventError")
        assert "waits for 'approval'" in answer.json()["detail"]


async def test_the_payload_of_an_event_is_checked_for_a_program_too(desk: Desk) -> None:
    run_id = await desk.start("test")

    answer = await desk.client.post(f"/api/runs/{run_id}/events/approval", json={"approved": "perhaps"})

    assert answer.status_code == 422


@pytest.mark.parametrize(("program", "declared"), [(waiting, []), (waiting_unseen, [done])])
async def test_of_events_of_one_name_the_declared_or_the_nearest_is_meant(
    program: AnyWorkflow, declared: list[Event[Approval]]
) -> None:
    async with served([program], events=declared) as desk:
        run_id = await desk.start(program.id, "x")
        answer = await desk.client.post(f"/api/runs/{run_id}/events/done?wait=1s", json=APPROVED)

    assert answer.json()["output"] is True


async def test_a_suspension_is_answered_by_its_token_once(desk: Desk) -> None:
    parked = (await desk.client.post("/api/workflows/asking/runs?wait=10s", json=ADA)).json()
    hook = f"/hooks/{parked['suspensions'][0]['token']}"

    wrong = await desk.client.post(hook, json={"approved": "perhaps"})
    answer = await desk.client.post(f"{hook}?wait=10s", json={"approved": False})
    again = await desk.client.post(hook, json={"approved": True})
    unknown = await desk.client.post("/hooks/nobodys", json={"approved": True})

    assert wrong.status_code == 422
    assert answer.json()["output"] == {"text": "Sorry"}
    assert again.status_code == unknown.status_code == 404
    assert again.json() == unknown.json()


async def test_a_fork_begins_where_it_is_told_to(desk: Desk) -> None:
    run_id = await desk.start("greeting")

    answer = await desk.client.post(
        f"/api/runs/{run_id}/fork?wait=10s", json={"at": "greet", "outputs": {"greet": {"text": "Hi"}}}
    )

    assert answer.json()["run_id"] != run_id
    assert answer.json()["output"] == {"text": "Hi"}


async def test_a_fork_of_a_step_that_there_is_not_is_not_found(desk: Desk) -> None:
    run_id = await desk.start("greeting")

    answer = await desk.client.post(f"/api/runs/{run_id}/fork", json={"at": "great"})

    assert (answer.status_code, answer.json()["error"]) == (404, "UnknownStepError")
