"""Starting runs, looking at them, ending, pausing and waking one, and reading along."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.clocks import settle

from .desk import ADA, Desk, lasting, served

PROBLEM = "application/problem+json"

# --- workflows -------------------------------------------------------------------------------------------


async def test_the_workflows_are_listed(desk: Desk) -> None:
    answer = await desk.client.get("/api/workflows")

    assert answer.status_code == 200
    assert {"id": "greeting", "description": ""} in answer.json()["data"]


async def test_a_workflow_tells_its_schemas_its_events_and_its_graph(desk: Desk) -> None:
    told = (await desk.client.get("/api/workflows/test")).json()

    assert told["input_schema"]["required"] == ["name"]
    assert told["output_schema"]["properties"]["text"]["type"] == "string"
    assert list(told["events"]) == ["approval"]
    assert told["nodes"] == [{"kind": "Code", "id": "test", "steps": []}]


async def test_an_unknown_workflow_is_not_found(desk: Desk) -> None:
    answer = await desk.client.get("/api/workflows/greeeting")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["detail"] == "there is no workflow 'greeeting' here; did you mean 'greeting'?"


# --- starting --------------------------------------------------------------------------------------------


async def test_a_run_is_recorded_before_the_answer(desk: Desk) -> None:
    answer = await desk.client.post("/api/workflows/greeting/runs", json=ADA)

    run_id = answer.json()["run_id"]
    assert answer.status_code == 202
    assert answer.json() == {"run_id": run_id, "workflow_id": "greeting", "status": "pending"}
    assert (await desk.rt.runs.get(run_id)).workflow_id == "greeting"


async def test_who_waits_gets_the_output(desk: Desk) -> None:
    answer = await desk.client.post("/api/workflows/greeting/runs?wait=10s", json=ADA)

    assert answer.status_code == 200
    assert answer.json()["status"] == "completed"
    assert answer.json()["output"] == {"text": "Hello, Ada"}


async def test_who_waits_for_a_run_that_fails_gets_the_error(desk: Desk) -> None:
    answer = await desk.client.post("/api/workflows/failing/runs?wait=10s", json=ADA)

    assert answer.status_code == 200
    assert answer.json()["status"] == "failed"
    assert answer.json()["error"]["message"] == "no greeting for Ada"


async def test_who_waits_hears_where_a_run_has_parked(desk: Desk) -> None:
    asking = (await desk.client.post("/api/workflows/asking/runs?wait=10s", json=ADA)).json()
    sleeping = (await desk.client.post("/api/workflows/sleeping/runs?wait=10s", json=ADA)).json()
    deciding = (await desk.client.post("/api/workflows/deciding/runs?wait=10s", json=ADA)).json()

    assert asking["suspensions"][0]["payload"] == "may I greet Ada?"
    assert (sleeping["status"], sleeping["reason"]) == ("waiting", "sleep")
    assert (deciding["status"], deciding["event"]) == ("waiting", "approval")


async def test_an_input_that_does_not_fit_is_refused_and_nothing_is_recorded(desk: Desk) -> None:
    answer = await desk.client.post("/api/workflows/greeting/runs", json={"age": "old"})

    assert answer.status_code == 422
    assert answer.json()["error"] == "InvalidValueError"
    assert answer.json()["problems"][0] == "name: field required"
    assert (await desk.rt.runs.list()).data == []


async def test_the_same_idempotency_key_is_the_same_run(desk: Desk) -> None:
    key = {"Idempotency-Key": "order-7"}
    first = await desk.client.post("/api/workflows/greeting/runs", json=ADA, headers=key)
    second = await desk.client.post("/api/workflows/greeting/runs?wait=10s", json=ADA, headers=key)
    other = await desk.client.post("/api/workflows/greeting/runs", json={"name": "Alan"}, headers=key)

    assert second.json()["run_id"] == first.json()["run_id"]
    assert second.json()["output"] == {"text": "Hello, Ada"}
    assert (other.status_code, other.json()["error"]) == (422, "RunConflictError")
    assert len((await desk.rt.runs.list()).data) == 1


async def test_an_id_that_was_used_is_a_conflict(desk: Desk) -> None:
    first = await desk.client.post("/api/workflows/greeting/runs?run_id=mine", json=ADA)
    again = await desk.client.post("/api/workflows/greeting/runs?run_id=mine", json=ADA)

    assert first.json()["run_id"] == "mine"
    assert (again.status_code, again.json()["error"]) == (409, "RunExistsError")


async def test_a_run_can_begin_later(desk: Desk) -> None:
    run_id = await desk.start("greeting", delay="1h")

    assert (await desk.client.get(f"/api/runs/{run_id}/result")).json()["status"] == "pending"
    desk.clock.turn(timedelta(hours=1))
    assert (await desk.client.get(f"/api/runs/{run_id}/result?wait=10s")).json()["status"] == "completed"


# --- looking ---------------------------------------------------------------------------------------------


async def test_runs_are_listed_by_what_is_known_of_them(desk: Desk) -> None:
    done, asked = await desk.start("greeting", attribute="team=a"), await desk.start("asking", attribute="team=b")

    async def listed(**query: str) -> list[str]:
        return [run["run_id"] for run in (await desk.client.get("/api/runs", params=query)).json()["data"]]

    assert await listed() == [asked, done]
    assert await listed(status="completed") == [done]
    assert await listed(waiting_for="suspended") == [asked]
    assert await listed(workflow="asking") == [asked]
    assert await listed(attribute="team=a") == [done]


async def test_a_listing_goes_on_from_its_cursor(desk: Desk) -> None:
    runs = [await desk.start("greeting") for _ in range(3)]

    first = (await desk.client.get("/api/runs?limit=2")).json()
    rest = (await desk.client.get("/api/runs", params={"limit": 2, "cursor": first["cursor"]})).json()

    assert [run["run_id"] for run in first["data"] + rest["data"]] == runs[::-1]
    assert (first["has_more"], rest["has_more"]) == (True, False)


async def test_a_cursor_of_something_else_is_refused(desk: Desk) -> None:
    answer = await desk.client.get("/api/runs?cursor=nonsense")

    assert answer.status_code == 400
    assert answer.headers["content-type"] == PROBLEM


async def test_a_run_is_told_whole(desk: Desk) -> None:
    run_id = await desk.start("greeting")

    told = (await desk.client.get(f"/api/runs/{run_id}")).json()

    assert told["status"] == "completed"
    assert told["input"] == {"name": "Ada", "age": 0}
    assert told["execution_path"] == ["greet"]
    assert told["step_results"]["greet"]["output"] == {"text": "Hello, Ada"}
    assert told["result"] == {"text": "Hello, Ada"}


async def test_the_log_is_told_a_page_at_a_time(desk: Desk) -> None:
    run_id = await desk.start("greeting")

    first = (await desk.client.get(f"/api/runs/{run_id}/events?limit=3")).json()
    rest = (await desk.client.get(f"/api/runs/{run_id}/events", params={"cursor": first["cursor"]})).json()

    log = first["data"] + rest["data"]
    assert [event["slot"] for event in log] == list(range(1, len(log) + 1))
    assert (log[0]["event_type"], log[0]["input"]) == ("run_created", {"name": "Ada", "age": 0})
    assert (log[-1]["event_type"], rest["has_more"]) == ("run_completed", False)


async def test_the_log_does_not_tell_the_tokens_of_hooks(desk: Desk) -> None:
    answer = await desk.client.post("/api/workflows/asking/runs?wait=10s", json=ADA)
    run_id, token = answer.json()["run_id"], answer.json()["suspensions"][0]["token"]

    for path in ("", "/events", "/stream?until=parked"):
        assert token not in (await desk.client.get(f"/api/runs/{run_id}{path}")).text


@pytest.mark.parametrize("path", ["", "/events", "/result", "/stream", "/streams/default"])
async def test_an_unknown_run_is_not_found(desk: Desk, path: str) -> None:
    answer = await desk.client.get(f"/api/runs/nobody{path}")

    assert answer.status_code == 404
    assert "'nobody'" in answer.json()["detail"]


async def test_an_unknown_path_is_a_problem_too(desk: Desk) -> None:
    answer = await desk.client.get("/nowhere")

    assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)


# --- doing -----------------------------------------------------------------------------------------------


async def test_a_run_is_cancelled(desk: Desk) -> None:
    run_id = await desk.start("asking")

    answer = await desk.client.post(f"/api/runs/{run_id}/cancel?reason=too+late")

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert (await desk.client.get(f"/api/runs/{run_id}/result")).json()["reason"] == "too late"


async def test_what_a_run_was_doing_when_it_was_cancelled_is_told_as_cancelled() -> None:
    workflow, begun = lasting()
    async with served([workflow]) as desk:
        run_id = (await desk.client.post("/api/workflows/lasting/runs", json=ADA)).json()["run_id"]
        await begun.wait()
        running = (await desk.client.get(f"/api/runs/{run_id}")).json()
        await desk.client.post(f"/api/runs/{run_id}/cancel")
        cancelled = (await desk.client.get(f"/api/runs/{run_id}")).json()

    assert [told["step_results"]["last"]["status"] for told in (running, cancelled)] == ["running", "cancelled"]


async def test_a_run_is_paused_and_goes_on(desk: Desk) -> None:
    run_id = await desk.start("sleeping")

    paused = await desk.client.post(f"/api/runs/{run_id}/pause?reason=lunch")
    stands = await desk.client.get(f"/api/runs/{run_id}/result")
    shown = await desk.client.get(f"/api/runs/{run_id}")
    unpaused = await desk.client.post(f"/api/runs/{run_id}/unpause")
    goes_on = await desk.client.get(f"/api/runs/{run_id}/result?wait=1s")

    assert paused.json()["waiting_for"] == "paused"
    assert (stands.json()["status"], stands.json()["by"], stands.json()["reason"]) == ("paused", "user", "lunch")
    assert shown.json()["pause_reason"] == "lunch"
    assert unpaused.json()["waiting_for"] != "paused"
    assert (await desk.client.get(f"/api/runs/{run_id}")).json()["pause_reason"] is None
    assert goes_on.json()["reason"] == "sleep"


@pytest.mark.parametrize("path", ["pause", "cancel"])
async def test_a_reason_is_short(desk: Desk, path: str) -> None:
    run_id = await desk.start("sleeping")

    refused = await desk.client.post(f"/api/runs/{run_id}/{path}", params={"reason": "x" * 513})
    stands = await desk.client.get(f"/api/runs/{run_id}/result")
    taken = await desk.client.post(f"/api/runs/{run_id}/{path}", params={"reason": "x" * 512})

    assert (refused.status_code, stands.json()["status"]) == (422, "waiting")
    assert taken.status_code == 200


async def test_a_sleep_is_ended_early(desk: Desk) -> None:
    run_id = await desk.start("sleeping")

    await desk.client.post(f"/api/runs/{run_id}/wake?key=nap")

    assert (await desk.client.get(f"/api/runs/{run_id}/result?wait=10s")).json()["status"] == "completed"


async def test_a_run_that_has_ended_is_deleted(desk: Desk) -> None:
    run_id, still_open = await desk.start("greeting"), await desk.start("asking")

    assert (await desk.client.delete(f"/api/runs/{run_id}")).status_code == 204
    assert (await desk.client.get(f"/api/runs/{run_id}")).status_code == 404
    assert (await desk.client.delete(f"/api/runs/{still_open}")).status_code == 409


async def test_a_run_that_has_ended_takes_nothing_more(desk: Desk) -> None:
    run_id = await desk.start("greeting")

    for path in ("pause", "unpause", "wake"):
        answer = await desk.client.post(f"/api/runs/{run_id}/{path}")
        assert (answer.status_code, answer.json()["error"]) == (409, "RunFinishedError")


# --- streams ---------------------------------------------------------------------------------------------


async def test_a_run_is_streamed_and_goes_on_behind_the_last_event_id(desk: Desk) -> None:
    run_id = await desk.start("talking")

    whole = (await desk.client.get(f"/api/runs/{run_id}/stream")).text
    frames = [dict(line.split(": ", 1) for line in frame.split("\n")) for frame in whole.strip().split("\n\n")]
    cursor = frames[2]["id"]
    rest = (await desk.client.get(f"/api/runs/{run_id}/stream", headers={"Last-Event-ID": cursor})).text

    assert '{"key":"talk","stream":"default","text":"Hello, Ada"}' in [frame["data"] for frame in frames]
    assert whole.endswith(rest)
    assert rest.count("id: ") == len(frames) - 3
    assert '"event_type":"run_completed"' in frames[-1]["data"]


async def test_who_has_heard_all_of_a_run_that_has_ended_is_not_to_come_again(desk: Desk) -> None:
    run_id = await desk.start("talking")

    whole = (await desk.client.get(f"/api/runs/{run_id}/stream")).text
    *_, before, last = [line.removeprefix("id: ") for line in whole.splitlines() if line.startswith("id: ")]
    rest = [await desk.client.get(f"/api/runs/{run_id}/stream?after={cursor}") for cursor in (before, last)]

    assert [(answer.status_code, answer.text.count("id: ")) for answer in rest] == [(200, 1), (204, 0)]


async def test_a_cursor_of_another_run_is_refused(desk: Desk) -> None:
    run_id = await desk.start("greeting")

    for cursor in ("999", "nonsense"):
        answer = await desk.client.get(f"/api/runs/{run_id}/stream?after={cursor}")
        assert answer.status_code == 422


async def test_the_bytes_of_a_stream_are_read(desk: Desk) -> None:
    run_id = await desk.start("talking")

    answer = await desk.client.get(f"/api/runs/{run_id}/streams/default")

    assert answer.content == b"Hello, Ada"
    await settle()
