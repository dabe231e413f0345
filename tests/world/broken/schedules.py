"""Broken schedules."""

from __future__ import annotations

from typing import Any

from wrkflw.world.schedules import SCHEDULES_CHANGED, Moved

from .defects import BrokenWorld, noticed_by


def _ledger(world: BrokenWorld) -> Any:
    return world.storage.schedules


@noticed_by("schedules/of_many_who_move_a_schedule_on_one_does", "schedules/of_two_worlds_one_moves_a_schedule_on")
def looks_first_and_makes_runs_then(world: BrokenWorld) -> None:
    """Double cron: between the look at the cursor and the runs, others look at it too."""
    ledger = _ledger(world)

    async def move(sound: Any, expected: Any, to: Any, instants: Any) -> object:
        found = await ledger.get(expected.schedule_id)
        if (found.cursor, found.timing) != (expected.cursor, expected.timing):
            return Moved(found, moved=False)
        made = await ledger.make(expected.schedule_id, instants, overlap="allow")
        return (await sound(expected, to, []))._replace(moved=True, run_ids=made.run_ids)

    world.alter(ledger, "move", move)


@noticed_by("schedules/of_many_who_move_a_schedule_on_one_does", "schedules/a_paused_schedule_stands_still")
def believes_everybody_who_moves_a_schedule_on(world: BrokenWorld) -> None:
    ledger = _ledger(world)

    async def move(sound: Any, expected: Any, to: Any, instants: Any) -> object:
        world.sql("UPDATE schedules SET paused_at = NULL")
        return await sound(await ledger.get(expected.schedule_id), to, instants)

    world.alter(ledger, "move", move)


@noticed_by("schedules/a_move_that_is_refused_leaves_nothing")
def moves_on_before_the_runs_are_made(world: BrokenWorld) -> None:
    """A crash in between loses the instant."""
    ledger = _ledger(world)

    async def move(sound: Any, expected: Any, to: Any, instants: Any) -> object:
        moved = await sound(expected, to, [])
        return await ledger.make(expected.schedule_id, instants, overlap="allow") if moved.moved else moved

    world.alter(ledger, "move", move)


@noticed_by("schedules/an_instant_that_has_a_run_makes_no_second")
def makes_again_what_was_made_by_hand(world: BrokenWorld) -> None:
    async def make(sound: Any, schedule_id: str, instants: Any, **how: Any) -> object:
        keyless = [
            instant._replace(creation=instant.creation.model_copy(update={"idempotency_key": None}))
            for instant in instants
        ]
        return await sound(schedule_id, keyless, **how)

    world.alter(_ledger(world), "make", make)


@noticed_by("schedules/a_paused_schedule_stands_still")
def makes_up_for_the_pause(world: BrokenWorld) -> None:
    ledger = _ledger(world)

    async def resume(_sound: Any, schedule_id: str) -> object:
        world.sql("UPDATE schedules SET paused_at = NULL")
        return await ledger.get(schedule_id)

    world.alter(ledger, "resume", resume)


@noticed_by("schedules/a_schedule_begins_when_it_is_first_heard_of")
def begins_before_it_was_heard_of(world: BrokenWorld) -> None:
    async def define(sound: Any, schedules: Any) -> object:
        found = await sound(schedules)
        world.sql("UPDATE schedules SET cursor = cursor - 3600000000")
        return [await _ledger(world).get(schedule.schedule_id) for schedule in found]

    world.alter(_ledger(world), "define", define)


@noticed_by("schedules/an_instant_is_skipped_while_a_run_is_open", "schedules/runs_wait_for_their_turn")
def lets_all_runs_overlap(world: BrokenWorld) -> None:
    async def move(sound: Any, *what: Any) -> object:
        world.sql("UPDATE schedules SET overlap = 'allow'")
        return await sound(*what)

    world.alter(_ledger(world), "move", move)


@noticed_by("schedules/runs_wait_for_their_turn")
def forgets_who_waits(world: BrokenWorld) -> None:
    async def next_turn(_sound: Any, _schedule_id: str) -> None:
        """Nobody is let begin."""

    world.alter(_ledger(world), "next_turn", next_turn)


@noticed_by("schedules/instants_without_a_run_are_remembered", "schedules/an_instant_is_skipped_while_a_run_is_open")
def forgets_what_was_missed(world: BrokenWorld) -> None:
    async def move(sound: Any, *what: Any) -> object:
        moved = await sound(*what)
        world.sql("DELETE FROM missed_instants")
        return moved

    world.alter(_ledger(world), "move", move)


@noticed_by("schedules/changes_are_told")
def changes_schedules_in_silence(world: BrokenWorld) -> None:
    def subscribe(sound: Any, listener: Any) -> object:
        return sound(lambda run_id, types: SCHEDULES_CHANGED in types or listener(run_id, types))

    world.alter(world, "subscribe", subscribe)


@noticed_by("schedules/schedules_of_other_namespaces_are_not_seen")
def knows_schedules_by_their_id_alone(world: BrokenWorld) -> None:
    _ledger(world)._namespace = "default"
