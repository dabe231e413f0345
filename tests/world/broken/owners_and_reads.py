"""Broken owners, pages, payloads and namespaces."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from wrkflw.world import events as e
from wrkflw.world.errors import WorkflowRunNotFoundError, WorldError
from wrkflw.world.storage import PageRequest, RunFence, RunFilter

from .defects import BrokenWorld, noticed_by

# --- owners ------------------------------------------------------------------------------------------


@noticed_by("ownership/a_writer_with_an_old_epoch_is_fenced", "ownership/the_fence_is_looked_at_before_the_guards")
def believes_every_fence(world: BrokenWorld) -> None:
    async def create(sound: Any, run_id: str, event: Any, *, fence: Any = None, **how: Any) -> object:
        if isinstance(fence, RunFence):
            fence = RunFence((await world.runs.locate(run_id)).epoch)
        return await sound(run_id, event, fence=fence, **how)

    world.alter(world.events, "create", create)


@noticed_by("ownership/a_run_with_a_live_owner_is_not_claimed")
def claims_what_others_have(world: BrokenWorld) -> None:
    async def claim(sound: Any, run_id: str, **how: Any) -> object:
        world.sql("UPDATE runs SET owner = NULL WHERE run_id = ?", run_id)
        return await sound(run_id, **how)

    world.alter(world.runs, "claim", claim)


@noticed_by("ownership/each_claim_raises_the_epoch", "ownership/only_the_newest_owner_releases")
def uses_epochs_again(world: BrokenWorld) -> None:
    async def release(sound: Any, run_id: str, *what: Any, **how: Any) -> object:
        released = await sound(run_id, *what, **how)
        world.sql("UPDATE runs SET epoch = epoch - 1 WHERE run_id = ?", run_id)
        return released

    world.alter(world.runs, "release", release)


@noticed_by("ownership/a_run_is_not_released_over_what_nobody_saw")
def releases_over_what_nobody_saw(world: BrokenWorld) -> None:
    async def release(sound: Any, run_id: str, fence: Any, **how: Any) -> object:
        how["seen_slot"] = (await world.runs.locate(run_id)).last_slot
        return await sound(run_id, fence, **how)

    world.alter(world.runs, "release", release)


@noticed_by("ownership/a_world_that_closes_gives_up_its_runs")
def keeps_its_runs_when_it_closes(world: BrokenWorld) -> None:
    world.alter(world._presence, "retire", lambda _sound, _connection: None)
    world.alter(world._presence, "let_go", lambda _sound: None)


@noticed_by("steps/a_step_that_somebody_alive_executes_is_not_started_again")
def forgets_who_executes_a_step(world: BrokenWorld) -> None:
    async def create(sound: Any, run_id: Any, event: Any, **how: Any) -> object:
        if isinstance(event, e.StepStarted):
            event = event.model_copy(update={"owner": None})
        return await sound(run_id, event, **how)

    world.alter(world.events, "create", create)


@noticed_by("retention/payloads_go_in_time", "retention/what_happened_stays")
def keeps_everything_for_ever(world: BrokenWorld) -> None:
    async def expire(_sound: Any, **_how: Any) -> int:
        return 0

    world.alter(world.storage.retention, "expire", expire)


@noticed_by("lifecycle/those_who_listen_hear_of_commits")
def tells_nobody(world: BrokenWorld) -> None:
    world.alter(world, "subscribe", lambda _sound, _listener: lambda: None)


# --- reads -------------------------------------------------------------------------------------------


@noticed_by("pages/the_last_page_has_a_cursor", "pages/a_cursor_at_the_end_gives_what_comes_later")
def has_no_cursor_at_the_end(world: BrokenWorld) -> None:
    async def listed(sound: Any, *what: Any, **how: Any) -> object:
        page = await sound(*what, **how)
        return page if page.has_more else replace(page, cursor=None)

    world.alter(world.events, "list", listed)
    world.alter(world.runs, "list", listed)


@noticed_by("pages/a_cursor_that_is_none_is_refused", "pages/a_cursor_belongs_to_its_listing")
def begins_anew_at_a_cursor_it_does_not_know(world: BrokenWorld) -> None:
    async def listed(sound: Any, *what: Any, page: Any = None, **how: Any) -> object:
        try:
            return await sound(*what, page=page, **how)
        except WorldError as refusal:
            if refusal.status != 400:
                raise
            return await sound(*what, page=page._replace(cursor=None), **how)

    for part in (world.events, world.runs, world.steps):
        world.alter(part, "list", listed)


@noticed_by("pages/what_is_created_between_pages_shifts_nothing")
def counts_from_the_top(world: BrokenWorld) -> None:
    """The cursor of the listing of runs says how many have been read."""

    async def listed(sound: Any, *what: Any, page: Any = None, **how: Any) -> object:
        page = page or PageRequest()
        whole = await sound(*what, page=PageRequest(1000), **how)
        first = int(page.cursor or 0)
        data = whole.data[first : first + page.limit]
        read = first + len(data)
        return replace(whole, data=data, cursor=str(read), has_more=read < len(whole.data))

    world.alter(world.runs, "list", listed)


@noticed_by("pages/steps_are_listed_by_their_creation", "pages/a_page_holds_1_to_1000")
def ignores_the_page(world: BrokenWorld) -> None:
    async def listed(sound: Any, *what: Any, page: Any = None, **how: Any) -> object:
        return await sound(*what, **how)

    world.alter(world.steps, "list", listed)


@noticed_by("reads/runs_are_found_by_status")
def takes_no_status_for_any(world: BrokenWorld) -> None:
    async def listed(sound: Any, where: RunFilter | None = None, **how: Any) -> object:
        if where is not None and not where.statuses:
            where = replace(where, statuses=None)
        return await sound(where, **how)

    world.alter(world.runs, "list", listed)


@noticed_by("reads/a_run_without_payloads", "reads/events_without_payloads")
def reads_payloads_that_nobody_asked_for(world: BrokenWorld) -> None:
    async def read(sound: Any, *what: Any, resolve_data: object = None, **how: Any) -> object:
        return await sound(*what, resolve_data="all", **how)

    world.alter(world.runs, "get", read)
    world.alter(world.events, "list", read)


@noticed_by("log/what_is_handed_out_are_copies")
def hands_out_its_own(world: BrokenWorld) -> None:
    kept: dict[str, Any] = {}

    async def get(sound: Any, run_id: str, **how: Any) -> object:
        run = await sound(run_id, **how)
        if run_id not in kept or kept[run_id].updated_at < run.updated_at:
            kept[run_id] = run
        return kept[run_id]

    world.alter(world.runs, "get", get)


@noticed_by("payloads/every_byte_comes_back", "payloads/payloads_of_every_size_come_back")
def cuts_at_nul(world: BrokenWorld) -> None:
    async def create(sound: Any, run_id: Any, event: Any, **how: Any) -> object:
        payload = None if event.payload is None else getattr(event, event.payload)
        if payload:
            event = event.model_copy(update={event.payload: payload.partition(b"\x00")[0]})
        return await sound(run_id, event, **how)

    world.alter(world.events, "create", create)


@noticed_by("payloads/nothing_and_empty_are_two")
def takes_empty_for_nothing(world: BrokenWorld) -> None:
    async def create(sound: Any, run_id: Any, event: Any, **how: Any) -> object:
        if event.payload is not None and getattr(event, event.payload) == b"":
            event = event.model_copy(update={event.payload: None})
        return await sound(run_id, event, **how)

    world.alter(world.events, "create", create)


@noticed_by("attributes/changes_are_merged")
def replaces_attributes(world: BrokenWorld) -> None:
    async def create(sound: Any, run_id: Any, event: Any, **how: Any) -> object:
        if isinstance(event, e.AttrSet):
            named = {change.key for change in event.changes}
            gone = [key for key in (await world.runs.get(run_id)).attributes if key not in named]
            changes = [*event.changes, *(e.AttributeChange(key=key, value=None) for key in gone)]
            event = event.model_copy(update={"changes": changes})
        return await sound(run_id, event, **how)

    world.alter(world.events, "create", create)


@noticed_by("namespaces/reads_do_not_see_another_namespace")
def forgets_the_namespace_in_one_query(world: BrokenWorld) -> None:
    """``runs.get`` finds the runs of every namespace."""

    async def get(sound: Any, run_id: str, **how: Any) -> object:
        for other in world.others:
            with suppress(WorkflowRunNotFoundError):
                return await type(other.runs).get(other.runs, run_id, **how)
        return await sound(run_id, **how)

    world.alter(world.runs, "get", get)


@noticed_by("namespaces/workers_take_runs_of_their_namespace_alone")
def takes_runs_of_every_namespace(world: BrokenWorld) -> None:
    async def claim_due(_sound: Any, **how: Any) -> object:
        return [run for other in world.others for run in await type(other.runs).claim_due(other.runs, **how)]

    world.alter(world.runs, "claim_due", claim_due)
