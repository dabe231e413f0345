"""Broken logs and views, guards and hooks."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, RunExpiredError, WorldError
from wrkflw.world.storage import EventResult, OnConflict
from wrkflw.worlds.sql import append

from .defects import BrokenWorld, noticed_by

# --- the log -----------------------------------------------------------------------------------------


@noticed_by("batches/a_birth_that_is_refused_leaves_nothing")
def forgets_to_roll_back(world: BrokenWorld) -> None:
    """A batch that is refused leaves behind what stood before the refusal."""

    async def create_batch(sound: Any, run_id: str, events: Any, **how: Any) -> object:
        try:
            return await sound(run_id, events, **how)
        except WorldError:
            for event in events:
                await world.events.create(run_id, event)
            raise

    world.alter(world.events, "create_batch", create_batch)


@noticed_by("log/a_refused_write_leaves_no_hole", "log/of_two_that_insist_on_one_slot_one_gets_it")
def leaves_a_hole_for_what_it_refuses(world: BrokenWorld) -> None:
    async def create(sound: Any, run_id: str, event: Any, **how: Any) -> object:
        try:
            return await sound(run_id, event, **how)
        except WorldError:
            world.sql("UPDATE runs SET last_slot = last_slot + 1 WHERE run_id = ?", run_id)
            raise

    world.alter(world.events, "create", create)


@noticed_by("steps/an_outcome_is_kept_with_the_step", "log/the_event_that_is_given_back_is_the_stored_one")
def commits_the_view_and_not_the_event(world: BrokenWorld) -> None:
    async def create(sound: Any, run_id: str, event: Any, **how: Any) -> object:
        result = await sound(run_id, event, **how)
        if event.event_type == "step_completed":
            world.sql("DELETE FROM events WHERE event_type = 'step_completed'")
        return result

    world.alter(world.events, "create", create)


@noticed_by("steps/every_start_counts", "steps/a_lazy_start_creates_the_step")
def commits_the_event_and_not_the_view(world: BrokenWorld) -> None:
    async def create(sound: Any, run_id: str, event: Any, **how: Any) -> object:
        result = await sound(run_id, event, **how)
        world.sql("UPDATE steps SET attempt = 0 WHERE ended_slot IS NULL")
        return result

    world.alter(world.events, "create", create)


@noticed_by("log/slots_count_from_one", "runs/a_start_with_its_creation_makes_a_lost_run")
def tells_history_backwards(world: BrokenWorld) -> None:
    async def listed(sound: Any, *what: Any, **how: Any) -> object:
        page = await sound(*what, **how)
        return replace(page, data=page.data[::-1])

    world.alter(world.events, "list", listed)


@noticed_by("log/times_do_not_go_back")
def lets_time_go_back(world: BrokenWorld) -> None:
    """The time of an event is what the clock says, whatever it said before."""
    clock = world._clock

    async def create(sound: Any, *what: Any, **how: Any) -> object:
        result = await sound(*what, **how)
        if result.event is not None:
            world.sql(
                "UPDATE events SET created_at = ? WHERE slot = ?",
                int(clock.now().timestamp() * 1e6),
                result.event.slot,
            )
        return result

    world.alter(world.events, "create", create)


@noticed_by("log/a_write_may_insist_on_its_slot", "batches/a_batch_may_insist_on_its_slot")
def writes_at_any_slot(world: BrokenWorld) -> None:
    async def write(sound: Any, *what: Any, expect_slot: int | None = None, **how: Any) -> object:
        return await sound(*what, **how)

    world.alter(world.events, "create", write)
    world.alter(world.events, "create_batch", write)


@noticed_by("batches/accepted_events_take_consecutive_slots", "batches/nothing_follows_the_end_in_a_batch")
def stops_a_batch_at_its_first_refusal(world: BrokenWorld) -> None:
    async def create_batch(sound: Any, *what: Any, **how: Any) -> object:
        result = await sound(*what, **how)
        for item in result.items:
            if item.refusal is not None:
                raise item.refusal
        return result

    world.alter(world.events, "create_batch", create_batch)


# --- guards ------------------------------------------------------------------------------------------


@noticed_by("runs/an_id_is_used_once", "steps/the_first_outcome_stays", "guards/run_created_on_a_run")
def swallows_refusals(world: BrokenWorld) -> None:
    """Whatever is refused is answered as if it had been done."""

    async def create(sound: Any, run_id: str, event: Any, **how: Any) -> object:
        try:
            return await sound(run_id, event, **how)
        except EntityConflictError:
            return EventResult(await world.runs.get(run_id))

    world.alter(world.events, "create", create)


@noticed_by("steps/a_retry_keeps_its_time", "signals_and_waits/no_sleep_ends_before_its_time")
def lets_things_begin_too_early(world: BrokenWorld) -> None:
    """``retry_after`` and ``resume_at`` are written down and not looked at."""

    def judge(sound: Any, image: Any, event: Any, now: Any, **how: Any) -> object:
        return sound(image, event, now + timedelta(days=365), **how)

    world.alter_module(append, "judge", judge)


@noticed_by("runs/once_a_pause_has_committed_nothing_starts", "guards/lazy_step_started_on_a_run")
def starts_while_paused(world: BrokenWorld) -> None:
    def judge(sound: Any, image: Any, event: Any, now: Any, **how: Any) -> object:
        if image.run is not None and event.event_type.startswith("step_"):
            image = replace(image, run=replace(image.run, paused_at=None))
        return sound(image, event, now, **how)

    world.alter_module(append, "judge", judge)


@noticed_by("guards/bare_step_started_on_a_run", "steps/a_running_step_may_tell_its_outcome_after_the_end")
def revives_what_has_ended(world: BrokenWorld) -> None:
    def judge(sound: Any, *what: Any, **how: Any) -> object:
        try:
            return sound(*what, **how)
        except RunExpiredError:
            return True

    world.alter_module(append, "judge", judge)


@noticed_by("steps/a_created_step_is_pending", "guards/step_created_on_a_step")
def creates_over_what_is_there(world: BrokenWorld) -> None:
    """A step that is created again begins anew."""

    def judge(sound: Any, image: Any, event: Any, *rest: Any, **how: Any) -> object:
        if event.event_type == "step_created":
            image = replace(image, steps={})
        return sound(image, event, *rest, **how)

    world.alter_module(append, "judge", judge)


@noticed_by("signals_and_waits/a_cancelled_wait_gives_its_signal_back")
def loses_what_a_cancelled_wait_had_taken(world: BrokenWorld) -> None:
    async def create(sound: Any, run_id: str, event: Any, **how: Any) -> object:
        if event.event_type == "wait_completed":
            event = event.model_copy(update={"cause": "woken"})
        return await sound(run_id, event, **how)

    world.alter(world.events, "create", create)


# --- hooks -------------------------------------------------------------------------------------------


@noticed_by("hooks/of_many_who_want_a_token_one_gets_it", "hooks/a_token_that_is_held_gives_a_conflict")
def lets_two_hold_a_token(world: BrokenWorld) -> None:
    """Tokens are told apart by a number that is added in silence; the latest holder is found."""
    numbers, latest = itertools.count(), dict[str, str]()

    async def create(sound: Any, run_id: str, event: Any, **how: Any) -> object:
        if isinstance(event, e.HookCreated):
            latest[event.token] = f"{event.token} {next(numbers)}"
            event = event.model_copy(update={"token": latest[event.token]})
        return await sound(run_id, event, **how)

    async def get_by_token(sound: Any, token: str) -> object:
        return await sound(latest.get(token, token))

    world.alter(world.events, "create", create)
    world.alter(world.hooks, "get_by_token", get_by_token)


@noticed_by("hooks/every_end_frees_the_tokens")
def keeps_tokens_after_the_end(world: BrokenWorld) -> None:
    async def create(sound: Any, run_id: str, event: Any, **how: Any) -> object:
        result = await sound(run_id, event, **how)
        if event.event_type in e.RUN_ENDS:
            world.sql("UPDATE hooks SET released_slot = NULL, retention_until = 9000000000000000")
        return result

    world.alter(world.events, "create", create)


@noticed_by("answers/an_answer_with_an_id_is_recorded_once", "signals_and_waits/a_signal_with_an_id_is_recorded_once")
def forgets_resume_ids(world: BrokenWorld) -> None:
    async def create(sound: Any, *what: Any, resume_id: str | None = None, **how: Any) -> object:
        return await sound(*what, **how)

    world.alter(world.events, "create", create)


@noticed_by("arguments/an_unknown_word_for_a_conflict_ends_nobody")
def takes_any_word_for_the_strongest(world: BrokenWorld) -> None:
    """What it does not know about a key that is taken, it does as if the other run were to end."""

    async def create(sound: Any, run_id: str | None, event: Any, **how: Any) -> object:
        if how.get("on_conflict") not in (None, *get_args(OnConflict)):
            how["on_conflict"] = "terminate_existing"
        return await sound(run_id, event, **how)

    world.alter(world.events, "create", create)
