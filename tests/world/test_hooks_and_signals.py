"""Places where the outside hands something in (contract §5, §9), and what the end of a run does to them (§13.3)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.clocks import START, ManualClock
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, HookNotFoundError, TooEarlyError, WorldError
from wrkflw.world.storage import Claim, Stamp
from wrkflw.worlds.sqlite import SqliteWorld

from .looks import assert_the_views_are_the_fold, log_of, new_run_id, outcome, views_of

HOUR = timedelta(hours=1)


async def new_run(world: SqliteWorld, *events: e.NewEvent) -> str:
    run_id = new_run_id(START)
    for event in (e.RunCreated(workflow_name="greet"), *events):
        await world.storage.events.create(run_id, event)
    return run_id


def hook(name: str = "hook_1", token: str = "invoice-17") -> e.HookCreated:
    return e.HookCreated(correlation_id=name, token=token, metadata=b"\x00who")


def received(payload: bytes = b"yes", name: str = "hook_1") -> e.HookReceived:
    return e.HookReceived(correlation_id=name, payload_data=payload)


def signal(signal_type: str, payload: bytes = b"") -> e.SignalReceived:
    return e.SignalReceived(signal_type=signal_type, payload_data=payload)


def wait_for(signal_type: str, name: str) -> e.WaitCreated:
    return e.WaitCreated(correlation_id=name, kind="signal", signal_type=signal_type)


# --- tokens ------------------------------------------------------------------------------------------


async def test_a_hook_is_found_by_its_token(world: SqliteWorld) -> None:
    run_id = await new_run(world, hook())

    found = await world.storage.hooks.get_by_token("invoice-17")

    assert found == await world.storage.hooks.get("hook_1", run_id=run_id)
    assert (found.run_id, found.metadata, found.created_at, found.payloads) == (run_id, b"\x00who", START, 0)
    assert (await world.storage.hooks.list(run_id, resolve_data="all")).data == [found]


async def test_a_hook_is_found_by_its_id_where_no_other_run_has_it(world: SqliteWorld) -> None:
    one = await new_run(world, hook())
    assert (await world.storage.hooks.get("hook_1")).run_id == one
    await new_run(world, hook(token="other"))

    with pytest.raises(WorldError, match="several runs have a hook 'hook_1'; say which with run_id=") as ambiguous:
        await world.storage.hooks.get("hook_1")
    assert ambiguous.value.status == 400

    await world.storage.hooks.dispose("hook_1", run_id=one)
    assert (await world.storage.hooks.get("hook_1")).token == "other"
    with pytest.raises(HookNotFoundError):
        await world.storage.hooks.get("hook_1", run_id=one)
    assert (await world.storage.hooks.list(one)).data == []


async def test_hooks_say_whose_they_are(clock: ManualClock) -> None:
    world = SqliteWorld(":memory:", clock=clock, stamp=Stamp("team-a", "shop", "staging"))
    await world.start()
    run_id = await new_run(world, hook())

    found = await world.storage.hooks.get_by_token("invoice-17")

    assert (found.owner_id, found.project_id, found.environment) == ("team-a", "shop", "staging")
    await assert_the_views_are_the_fold(world, run_id)
    await world.close()


async def test_unknown_tokens_and_hooks_give_the_same_answer(world: SqliteWorld) -> None:
    run_id = await new_run(world)

    with pytest.raises(HookNotFoundError, match="no live hook has this token"):
        await world.storage.hooks.get_by_token("other")
    with pytest.raises(HookNotFoundError, match="no live hook has this token"):
        await world.storage.hooks.get("hook_1", run_id=run_id)


async def test_the_second_run_to_ask_for_a_token_is_told_who_holds_it(world: SqliteWorld) -> None:
    holder, loser = await new_run(world, hook()), await new_run(world)

    answer = await world.storage.events.create(loser, hook())

    conflict = e.HookConflict(correlation_id="hook_1", token="invoice-17", conflicting_run_id=holder)
    assert answer.event is not None
    assert answer.event.event == conflict
    assert answer.hook is None
    assert (await world.storage.hooks.list(loser)).data == []
    await assert_the_views_are_the_fold(world, loser)


async def test_a_conflict_is_recorded_once_and_stands(world: SqliteWorld) -> None:
    holder, loser = await new_run(world, hook()), await new_run(world)
    first = await world.storage.events.create(loser, hook())
    await world.storage.events.create(holder, e.HookDisposed(correlation_id="hook_1"))

    again = await world.storage.events.create(loser, hook())
    under_another_name = await world.storage.events.create(loser, hook("hook_2"))

    assert again.event == first.event
    assert under_another_name.hook is not None
    assert [logged.event_type for logged in await log_of(world, loser)] == [
        "run_created", "hook_conflict", "hook_created",
    ]  # fmt: skip


async def test_a_run_does_not_conflict_with_itself(world: SqliteWorld) -> None:
    run_id = await new_run(world, hook())

    with pytest.raises(EntityConflictError, match=f"hook 'hook_1' of {run_id} already exists"):
        await world.storage.events.create(run_id, hook())


@pytest.mark.parametrize(
    "end",
    [e.HookDisposed(correlation_id="hook_1"), e.RunCompleted(), e.RunFailed(), e.RunCancelled()],
    ids=lambda event: str(event.event_type),
)
async def test_a_token_is_free_again_when_its_hook_or_run_is_gone(end: e.NewEvent, world: SqliteWorld) -> None:
    first = await new_run(world, hook(), end)
    with pytest.raises(HookNotFoundError):
        await world.storage.hooks.get_by_token("invoice-17")

    second = await new_run(world, hook())

    assert (await world.storage.hooks.get_by_token("invoice-17")).run_id == second
    await assert_the_views_are_the_fold(world, first)


async def test_namespaces_do_not_share_tokens_keys_or_runs(clock: ManualClock, tmp_path: object) -> None:
    one, two = (SqliteWorld(f"{tmp_path}/shared.db", clock=clock, namespace=name) for name in ("one", "two"))
    await one.start()
    await two.start()
    run_id = await new_run(one, hook())

    other = await new_run(two, hook())

    assert (await two.storage.hooks.get_by_token("invoice-17")).run_id == other
    with pytest.raises(WorldError, match="was not found"):
        await two.storage.runs.get(run_id)
    with pytest.raises(WorldError, match="was not found"):
        await two.storage.events.create(run_id, e.RunCancelled())
    with pytest.raises(EntityConflictError, match=f"run '{run_id}' already exists; take another id"):
        await two.storage.events.create(run_id, e.RunCreated(workflow_name="greet"))
    assert [run.run_id for run in (await two.storage.runs.list()).data] == [other]
    assert await two.storage.runs.get_many([run_id, other]) == [None, await two.storage.runs.get(other)]
    await two.close()
    await one.close()


# --- tokens that outlast their run -------------------------------------------------------------------

KEPT = hook().model_copy(update={"token_retention_until": START + 2 * HOUR})
COMPLETED = e.RunCompleted()


@pytest.mark.parametrize("end", [COMPLETED, e.RunCancelled()], ids=lambda event: str(event.event_type))
async def test_a_token_that_is_kept_outlasts_its_run(end: e.NewEvent, world: SqliteWorld, clock: ManualClock) -> None:
    first, second = await new_run(world, KEPT, end), await new_run(world)
    clock.turn(2 * HOUR - timedelta(microseconds=1))

    kept = await world.storage.hooks.get_by_token("invoice-17")
    conflict = await world.storage.events.create(second, hook())

    assert (kept.run_id, kept.released_slot) == (first, 3)
    assert kept == await world.storage.hooks.get("hook_1") == await world.storage.hooks.get("hook_1", run_id=first)
    assert (await world.storage.hooks.list(first, resolve_data="all")).data == [kept]
    assert conflict.event is not None
    assert conflict.event.event_type == "hook_conflict"
    assert await outcome(world.storage.events.create(first, received())) == "410"
    assert await outcome(world.storage.events.create(first, e.HookDisposed(correlation_id="hook_1"))) == "404"


async def test_a_kept_token_is_given_up_to_who_asks_after_its_time(world: SqliteWorld, clock: ManualClock) -> None:
    first = await new_run(world, KEPT, COMPLETED)
    clock.turn(2 * HOUR)

    with pytest.raises(HookNotFoundError):
        await world.storage.hooks.get_by_token("invoice-17")
    with pytest.raises(HookNotFoundError):
        await world.storage.hooks.get("hook_1", run_id=first)
    assert (await world.storage.hooks.list()).data == []
    second = await new_run(world, hook())

    assert (await world.storage.hooks.get_by_token("invoice-17")).run_id == second
    await assert_the_views_are_the_fold(world, first)
    await assert_the_views_are_the_fold(world, second)


async def test_a_run_that_goes_on_past_its_time_keeps_its_token_until_its_end(
    world: SqliteWorld, clock: ManualClock
) -> None:
    run_id = await new_run(world, KEPT)
    clock.turn(3 * HOUR)
    assert (await world.storage.hooks.get_by_token("invoice-17")).run_id == run_id

    await world.storage.events.create(run_id, COMPLETED)

    with pytest.raises(HookNotFoundError):
        await world.storage.hooks.get_by_token("invoice-17")
    assert (await new_run(world, hook())) == (await world.storage.hooks.get_by_token("invoice-17")).run_id


async def test_a_token_that_is_kept_may_be_taken_and_kept_in_the_transaction_of_its_end(
    world: SqliteWorld, clock: ManualClock
) -> None:
    run_id = new_run_id(clock.now())
    born_and_ended: list[e.NewEvent] = [e.RunCreated(workflow_name="greet"), e.RunStarted(), KEPT, COMPLETED]

    await world.storage.events.create_batch(run_id, born_and_ended, claim=Claim(world.owner))

    assert (await world.storage.hooks.get_by_token("invoice-17")).run_id == run_id


async def test_disposing_of_a_hook_frees_a_token_that_was_to_be_kept(world: SqliteWorld) -> None:
    await new_run(world, KEPT, e.HookDisposed(correlation_id="hook_1"))

    second = await new_run(world, hook())

    assert (await world.storage.hooks.get_by_token("invoice-17")).run_id == second


async def test_a_token_is_not_kept_for_more_than_thirty_days(world: SqliteWorld) -> None:
    run_id = await new_run(world)
    too_long = hook().model_copy(update={"token_retention_until": START + timedelta(days=30, microseconds=1)})

    with pytest.raises(WorldError, match="a token can be kept for at most 30 days; shorten token_retention_until"):
        await world.storage.events.create(run_id, too_long)


# --- payloads ----------------------------------------------------------------------------------------


async def test_a_hook_takes_many_payloads_and_one_for_a_suspended_step_takes_one(world: SqliteWorld) -> None:
    step = e.StepCreated(correlation_id="step_1", step_name="ask", key="ask")
    asks = e.HookCreated(correlation_id="hook_2", token="t", kind="suspend", step_id="step_1")
    start = e.StepStarted(correlation_id="step_1")
    suspended = e.StepRetrying(correlation_id="step_1", reason="suspended", hook_id="hook_2")
    run_id = await new_run(world, hook(), received(), received(), step, start, asks, suspended)

    with pytest.raises(EntityConflictError, match=f"step 'ask' of {run_id} is suspended; its hook has no payload yet"):
        await world.storage.events.create(run_id, start)
    await world.storage.events.create(run_id, received(name="hook_2"))
    with pytest.raises(EntityConflictError, match=f"hook 'hook_2' of {run_id} already has its answer"):
        await world.storage.events.create(run_id, received(name="hook_2"))
    await world.storage.events.create(run_id, start)

    assert [found.payloads for found in (await world.storage.hooks.list(run_id)).data] == [2, 1]
    await assert_the_views_are_the_fold(world, run_id)


async def test_the_same_resume_id_is_the_same_payload(world: SqliteWorld) -> None:
    run_id = await new_run(world, hook())
    create = world.storage.events.create

    first = await create(run_id, received(), resume_id="mail-1")
    again = await create(run_id, received(), resume_id="mail-1")
    await create(run_id, received(), resume_id="mail-2")
    await create(run_id, received())
    await create(run_id, e.RunCompleted())
    after_the_end = await create(run_id, received(), resume_id="mail-1")

    assert first.event == again.event == after_the_end.event
    assert [logged.event_type for logged in await log_of(world, run_id)].count("hook_received") == 3


@pytest.mark.parametrize("other", [received(b"no"), received(name="hook_2"), signal("paid", b"yes")])
async def test_a_resume_id_used_for_something_else_is_a_conflict(other: e.NewEvent, world: SqliteWorld) -> None:
    run_id = await new_run(world, hook(), hook("hook_2", "other"))
    await world.storage.events.create(run_id, received(), resume_id="mail-1")

    refusal = f"^id 'mail-1' came to run '{run_id}' with something else before; take another for what is new$"
    with pytest.raises(EntityConflictError, match=refusal):
        await world.storage.events.create(run_id, other, resume_id="mail-1")


async def test_a_digest_says_what_is_the_same_in_place_of_the_payload(world: SqliteWorld) -> None:
    run_id = await new_run(world, hook())
    create = world.storage.events.create

    first = await create(run_id, received(b"at 12:00"), resume_id="mail-1", resume_digest="a")
    again = await create(run_id, received(b"at 12:01"), resume_id="mail-1", resume_digest="a")
    await create(run_id, e.HookDisposed(correlation_id="hook_1"))
    when_it_is_gone = await create(run_id, received(b"at 12:02"), resume_id="mail-1", resume_digest="a")
    await create(run_id, e.RunCompleted())
    after_the_end = await create(run_id, received(b"at 12:00"), resume_id="mail-1")

    assert first.event == again.event == when_it_is_gone.event == after_the_end.event
    for digest, payload in (("b", b"at 12:00"), (None, b"at 12:01")):
        with pytest.raises(EntityConflictError, match="with something else before"):
            await create(run_id, received(payload), resume_id="mail-1", resume_digest=digest)


@pytest.mark.parametrize("resume_id", ["", "x" * 1025])
async def test_a_resume_id_is_a_text_of_some_length(resume_id: str, world: SqliteWorld) -> None:
    run_id = await new_run(world, hook())

    with pytest.raises(WorldError, match="a resume id has 1 to 1024 bytes"):
        await world.storage.events.create(run_id, received(), resume_id=resume_id)
    with pytest.raises(WorldError, match="resume_digest is about a resume id; give both"):
        await world.storage.events.create(run_id, received(), resume_digest="a")


async def test_only_what_comes_from_outside_takes_a_resume_id(world: SqliteWorld) -> None:
    run_id = await new_run(world)

    with pytest.raises(WorldError, match="'run_cancelled' takes no resume id; only what comes from outside does"):
        await world.storage.events.create(run_id, e.RunCancelled(), resume_id="mail-1")


# --- signals and waits -------------------------------------------------------------------------------


async def test_signals_wait_in_line_for_whoever_asks_for_their_type(world: SqliteWorld) -> None:
    run_id = await new_run(
        world, signal("paid"), signal("shipped"), signal("paid"), wait_for("paid", "w1"), wait_for("paid", "w2")
    )
    await world.storage.events.create(run_id, wait_for("paid", "w3"))

    waits = views_of(world, run_id).waits
    assert [waits[name].matched_slot for name in ("w1", "w2", "w3")] == [2, 4, None]


async def test_a_signal_goes_to_the_wait_that_has_been_open_longest(world: SqliteWorld) -> None:
    run_id = await new_run(world, wait_for("paid", "w2"), wait_for("shipped", "w0"), wait_for("paid", "w1"))

    await world.storage.events.create(run_id, signal("paid"))

    waits = views_of(world, run_id).waits
    assert [waits[name].matched_slot for name in ("w2", "w1", "w0")] == [5, None, None]


async def test_a_cancelled_wait_gives_its_signal_back_to_the_head_of_the_line(world: SqliteWorld) -> None:
    run_id = await new_run(world, signal("paid", b"1"), signal("paid", b"2"), wait_for("paid", "w1"))

    await world.storage.events.create(run_id, e.WaitCompleted(correlation_id="w1", cause="cancelled"))
    await world.storage.events.create(run_id, wait_for("paid", "w2"))

    waits = views_of(world, run_id).waits
    assert (waits["w1"].matched_slot, waits["w2"].matched_slot) == (None, 2)
    await assert_the_views_are_the_fold(world, run_id)


@pytest.mark.parametrize("cause", ["elapsed", "timeout"])
async def test_a_wait_is_over_when_its_time_has_come_and_not_before(
    cause: str, world: SqliteWorld, clock: ManualClock
) -> None:
    run_id = await new_run(world, e.WaitCreated(correlation_id="w1", resume_at=START + HOUR))
    over = e.WaitCompleted.model_validate({"correlation_id": "w1", "cause": cause})
    clock.turn(HOUR - timedelta(microseconds=1))

    with pytest.raises(TooEarlyError) as early:
        await world.storage.events.create(run_id, over)
    assert early.value.retry_after == START + HOUR
    clock.turn(timedelta(microseconds=1))
    await world.storage.events.create(run_id, over)

    with pytest.raises(EntityConflictError, match=f"wait 'w1' of {run_id} is already 'completed'"):
        await world.storage.events.create(run_id, over)


async def test_a_wait_that_has_its_signal_does_not_time_out(world: SqliteWorld, clock: ManualClock) -> None:
    run_id = await new_run(world, wait_for("paid", "w1").model_copy(update={"resume_at": START + HOUR}), signal("paid"))
    clock.turn(HOUR)

    with pytest.raises(EntityConflictError, match=f"wait 'w1' of {run_id} already has its signal"):
        await world.storage.events.create(run_id, e.WaitCompleted(correlation_id="w1", cause="timeout"))


async def test_a_wait_needs_to_know_what_for(world: SqliteWorld) -> None:
    run_id = await new_run(world)

    with pytest.raises(WorldError, match="wait 'w1' has no end; give it resume_at"):
        await world.storage.events.create(run_id, e.WaitCreated(correlation_id="w1"))
    with pytest.raises(WorldError, match="wait 'w1' waits for no signal; give it signal_type"):
        await world.storage.events.create(run_id, e.WaitCreated(correlation_id="w1", kind="signal"))


# --- the end of a run --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end", [e.RunCompleted(), e.RunFailed(), e.RunCancelled()], ids=lambda event: str(event.event_type)
)
async def test_the_end_of_a_run_closes_all_that_was_open(end: e.NewEvent, world: SqliteWorld) -> None:
    pending = e.StepCreated(correlation_id="step_1", step_name="a", key="a")
    running = e.StepStarted(correlation_id="step_2", step_name="b")
    run_id = await new_run(world, hook(), wait_for("paid", "w1"), pending, running)

    await world.storage.events.create(run_id, end)

    image = views_of(world, run_id)
    assert image.run is not None
    assert (image.run.ended_slot, image.run.completed_at, image.run.wake_at) == (7, START, None)
    assert image.hooks["hook_1"].released_slot == 7
    assert (image.waits["w1"].status, image.waits["w1"].completed_slot) == ("completed", 7)
    assert (image.steps["step_1"].status, image.steps["step_2"].status) == ("pending", "running")
    assert await outcome(world.storage.events.create(run_id, e.StepCompleted(correlation_id="step_2"))) == "ok"
    await assert_the_views_are_the_fold(world, run_id)
