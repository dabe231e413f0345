"""Hooks: tokens are unique among the living, and an answer is recorded once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from wrkflw.testing.conformance.acts import begin, create, disposed, hook, no_trace, received, record, types_in
from wrkflw.testing.conformance.audit import every
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure_equal, present, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, HookNotFoundError, RunExpiredError
from wrkflw.world.storage import PageRequest


@promise("§8 hooks.get_by_token")
async def check_a_hook_is_found_by_its_token(stage: Stage) -> None:
    """A hook is visible under its token as soon as ``hook_created`` has committed."""
    world = await stage.open()
    run_id = await begin(world, hook("hook_a", "invoice-17", b"meta"))

    found = await world.storage.hooks.get_by_token("invoice-17")

    ensure_equal((found.run_id, found.hook_id, found.kind), (run_id, "hook_a", "hook"), "the hook")
    ensure_equal((found.metadata, found.created_at), (b"meta", stage.clock.now()), "what it carries")
    by_id = await world.storage.hooks.get("hook_a", run_id=run_id)
    ensure_equal((by_id.token, by_id.metadata), ("invoice-17", b"meta"), "the hook, by its id")


@promise("§9, tokens")
async def check_a_token_is_any_text(stage: Stage) -> None:
    """Tokens differ when their text differs: case, accents, spaces at the end."""
    world = await stage.open()
    tokens = ["order", "Order", "order ", "ördér", "o/r:d?e#r %", "order\n", "名", "'; DROP TABLE hooks --"]
    runs = [await begin(world, hook("hook_a", token)) for token in tokens]

    for run_id, token in zip(runs, tokens, strict=True):
        found = await world.storage.hooks.get_by_token(token)
        ensure_equal((found.run_id, found.token), (run_id, token), f"the hook of {token!r}")


@promise("§9")
async def check_a_token_that_is_held_gives_a_conflict(stage: Stage) -> None:
    """The second run to want a token gets ``hook_conflict`` in its log, with the holder; that is no exception."""
    world = await stage.open()
    holder, loser = await begin(world, hook("hook_a", "t")), await begin(world)

    result = await record(world, loser, hook("hook_a", "t"))

    stored = present(result.event, "the event")
    ensure_equal(
        stored.event, e.HookConflict(correlation_id="hook_a", token="t", conflicting_run_id=holder), "the event"
    )
    ensure_equal((await types_in(world, loser))[2:], ["hook_conflict"], "the log of the loser")
    ensure_equal((await world.storage.hooks.list(loser)).data, [], "hooks of the loser")
    ensure_equal((await world.storage.hooks.get_by_token("t")).run_id, holder, "the holder")


@promise("§5 hook_conflict")
async def check_a_conflict_is_told_once(stage: Stage) -> None:
    """Asking again for the same hook gives the stored conflict, though the token has become free meanwhile."""
    world = await stage.open()
    holder, loser = await begin(world, hook("hook_a", "t")), await begin(world)
    first = present((await record(world, loser, hook("hook_a", "t"))).event, "the event")
    await record(world, holder, disposed("hook_a"))

    async with no_trace(world, loser):
        again = await record(world, loser, hook("hook_a", "t"))
        ensure_equal(present(again.event, "the event").slot, first.slot, "the slot of the conflict")


@promise("§9")
async def check_of_many_who_want_a_token_one_gets_it(stage: Stage) -> None:
    """Many runs at once: one hook, and a conflict that names its run for all others."""
    world = await stage.open()
    runs = [await begin(world) for _ in range(8)]

    results = await asyncio.gather(*(world.storage.events.create(run_id, hook("hook_a", "t")) for run_id in runs))

    holder = (await world.storage.hooks.get_by_token("t")).run_id
    told = [present(result.event, "the event") for result in results]
    ensure_equal([event.run_id for event in told if event.event_type == "hook_created"], [holder], "who got it")
    named = {event.event.conflicting_run_id for event in told if isinstance(event.event, e.HookConflict)}
    ensure_equal(named, {holder}, "whom the conflicts name")


@promise("§9", need="lasting")
async def check_of_two_worlds_that_want_a_token_one_gets_it(stage: Stage) -> None:
    """The index decides, not a read: two Worlds at once leave one live hook."""
    one, other = await stage.open(), await stage.open()
    runs = [(world, await begin(world)) for _ in range(4) for world in (one, other)]

    await asyncio.gather(*(world.storage.events.create(run_id, hook("hook_a", "t")) for world, run_id in runs))

    got = [run_id for world, run_id in runs if "hook_created" in await types_in(world, run_id)]
    ensure_equal(got, [(await one.storage.hooks.get_by_token("t")).run_id], "runs that got it")


@promise("§5 hook_created")
async def check_a_hook_is_created_once(stage: Stage) -> None:
    """The same hook of the same run again is 409, never a conflict with itself."""
    world = await stage.open()
    run_id = await begin(world, hook("hook_a", "t"))

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, hook("hook_a", "t")), 409, EntityConflictError)
        await refusal(world.storage.events.create(run_id, hook("hook_a", "u")), 409, EntityConflictError)
        await refusal(world.storage.hooks.get_by_token("u"), 404, HookNotFoundError)


@promise("§9")
async def check_a_run_that_holds_a_token_conflicts_with_itself_under_another_hook(stage: Stage) -> None:
    """A token is held once: another hook of the same run gets a conflict that names the run itself."""
    world = await stage.open()
    run_id = await begin(world, hook("hook_a", "t"))

    result = await record(world, run_id, hook("hook_b", "t"))

    conflict = present(result.event, "the event").event
    ensure_equal(getattr(conflict, "conflicting_run_id", None), run_id, "the holder")
    ensure_equal((await world.storage.hooks.get_by_token("t")).hook_id, "hook_a", "the hook that has the token")


@promise("§5 hook_disposed")
async def check_disposing_frees_the_token(stage: Stage) -> None:
    """A disposed hook is gone: its token is free, it takes no payload, and is not disposed of twice."""
    world = await stage.open()
    run_id, next_one = await begin(world, hook("hook_a", "t"), disposed("hook_a")), await begin(world)

    async with no_trace(world, run_id):
        await refusal(world.storage.hooks.get_by_token("t"), 404, HookNotFoundError)
        for event in (received("hook_a"), disposed("hook_a")):
            await refusal(world.storage.events.create(run_id, event), 404, HookNotFoundError)

    await record(world, next_one, hook("hook_a", "t"))
    ensure_equal((await world.storage.hooks.get_by_token("t")).run_id, next_one, "the next holder")


@promise("§13.3")
async def check_every_end_frees_the_tokens(stage: Stage) -> None:
    """Completed, failed or cancelled: in the same transaction the hooks are released and the tokens free."""
    world = await stage.open()
    for end in (e.RunCompleted(), e.RunFailed(), e.RunCancelled()):
        run_id, next_one = await begin(world, hook("hook_a", "t"), hook("hook_b", "u")), await begin(world)

        await record(world, run_id, end)

        await refusal(world.storage.hooks.get_by_token("t"), 404, HookNotFoundError)
        result = await record(world, next_one, hook("hook_a", "t"), hook("hook_b", "u"))
        ensure_equal(present(result.event, "the event").event_type, "hook_created", f"who asks after {end.event_type}")
        await record(world, next_one, e.RunCancelled())


@promise("§7 HookNotFoundError")
async def check_a_token_cannot_be_probed(stage: Stage) -> None:
    """Unknown, disposed and ended tokens are refused with one and the same message."""
    world = await stage.open()
    await begin(world, hook("hook_a", "disposed"), disposed("hook_a"))
    await begin(world, hook("hook_a", "ended"), e.RunCompleted())

    texts = {
        str(await refusal(world.storage.hooks.get_by_token(token), 404, HookNotFoundError))
        for token in ("unknown", "disposed", "ended", "")
    }

    ensure_equal(len(texts), 1, f"different messages {sorted(texts)}")


@promise("§5 hook_created")
async def check_a_token_is_kept_for_30_days_at_most(stage: Stage) -> None:
    """``token_retention_until`` more than 30 days ahead is 400, and takes no token."""
    world = await stage.open()
    run_id = await begin(world)

    def kept(days: float) -> e.HookCreated:
        until = stage.clock.now() + timedelta(days=days)
        return e.HookCreated(correlation_id="hook_a", token="t", token_retention_until=until)

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, kept(30.001)), 400)
    await record(world, run_id, kept(30))
    ensure_equal((await world.storage.hooks.get_by_token("t")).run_id, run_id, "the holder")


@promise("§5 hook_conflict")
async def check_nobody_may_write_a_conflict(stage: Stage) -> None:
    """``hook_conflict`` is the World's: from a caller it is 400."""
    world = await stage.open()
    run_id = await begin(world)
    conflict = e.HookConflict(correlation_id="hook_a", token="t", conflicting_run_id="wrun_x")

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, conflict), 400)


@promise("§8 hooks.list")
async def check_the_hooks_of_a_run_are_its_own(stage: Stage) -> None:
    """A run's hooks are listed with their metadata, and those of others are not."""
    world = await stage.open()
    run_id = await begin(world, hook("hook_a", "t", b"m"), hook("hook_b", "u"))
    await begin(world, hook("hook_c", "v"))

    hooks = (await world.storage.hooks.list(run_id)).data

    ensure_equal(sorted((one.hook_id, one.token) for one in hooks), [("hook_a", "t"), ("hook_b", "u")], "hooks")
    ensure_equal((await world.storage.hooks.list(await create(world))).data, [], "hooks of a run without")


@promise("§13.3", need="lasting")
async def check_hooks_outlive_their_world(stage: Stage) -> None:
    """A hook is found, and answered, after the store was closed and opened again."""
    world = await stage.open()
    run_id = await begin(world, hook("hook_a", "t", b"m"))

    world = await stage.reopen(world)

    found = await world.storage.hooks.get_by_token("t")
    ensure_equal((found.run_id, found.metadata), (run_id, b"m"), "the hook")
    other = await begin(world)
    result = await record(world, other, hook("hook_a", "t"))
    ensure_equal(present(result.event, "the event").event_type, "hook_conflict", "who asks for the token")
    await record(world, run_id, received("hook_a"))


@promise("§9 retention", need="hook_retention")
async def check_a_token_may_be_kept_beyond_the_end(stage: Stage) -> None:
    """A token that is kept stays reserved after the end of its run: readable, not to be answered, free in time."""
    world = await stage.open()
    until = stage.clock.now() + timedelta(minutes=10)
    kept = e.HookCreated(correlation_id="hook_a", token="t", token_retention_until=until)
    run_id = await begin(world, kept, e.RunCompleted())
    early, late = await begin(world), await begin(world)

    ensure_equal((await world.storage.hooks.get_by_token("t")).run_id, run_id, "the hook that can be read")
    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, received("hook_a")), 410, RunExpiredError)
    ensure_equal((await record(world, early, hook("hook_a", "t"))).hook, None, "the hook of who asks too early")
    stage.turn(minutes=10)
    result = await record(world, late, hook("hook_a", "t"))

    ensure_equal(present(result.event, "the event").event_type, "hook_created", "who asks in time")
    ensure_equal((await world.storage.hooks.get_by_token("t")).run_id, late, "the next holder")


@promise("§9 retention", need="hook_retention")
async def check_a_kept_token_is_not_freed_while_its_run_is_open(stage: Stage) -> None:
    """Deadline and end must both have passed: an open run holds its token however late it is."""
    world = await stage.open()
    until = stage.clock.now() + timedelta(minutes=10)
    kept = e.HookCreated(correlation_id="hook_a", token="t", token_retention_until=until)
    run_id, other = await begin(world, kept), await begin(world)
    stage.turn(minutes=20)

    result = await record(world, other, hook("hook_a", "t"))

    ensure_equal(present(result.event, "the event").event_type, "hook_conflict", "who asks for the token")
    await record(world, run_id, received("hook_a"))


@promise("§8 hooks.list")
async def check_hooks_of_all_runs_come_in_pages(stage: Stage) -> None:
    """Without a run all live hooks are listed, oldest first, page by page."""
    world = await stage.open()
    for number in range(5):
        await begin(world, hook("hook_a", f"token {number}"))
    await begin(world, hook("hook_a", "gone"), e.RunCompleted())

    for limit in (1, 2, 5):
        pages = every(lambda page: world.storage.hooks.list(page=page), limit=limit)
        tokens = [one.token async for one in pages]
        ensure_equal(sorted(tokens), [f"token {number}" for number in range(5)], f"tokens in pages of {limit}")
    await refusal(world.storage.hooks.list(page=PageRequest(1, "nonsense")), 400)


@promise("§8 hooks.get")
async def check_a_hook_id_may_be_ambiguous(stage: Stage) -> None:
    """Without a run the only live hook of an id is found; where several runs have one it is 400."""
    world = await stage.open()
    run_id = await begin(world, hook("hook_a", "t"))

    ensure_equal((await world.storage.hooks.get("hook_a")).run_id, run_id, "the only hook of the id")
    await begin(world, hook("hook_a", "u"))
    await refusal(world.storage.hooks.get("hook_a"), 400)
    await refusal(world.storage.hooks.get("hook_x"), 404, HookNotFoundError)


@promise("§8 resolve_data")
async def check_a_hook_without_its_metadata(stage: Stage) -> None:
    """``none`` leaves out the metadata; token, kind and step stay."""
    world = await stage.open()
    run_id = await begin(world, hook("hook_a", "t", b"m"))

    for found in (
        await world.storage.hooks.get("hook_a", run_id=run_id, resolve_data="none"),
        await world.storage.hooks.get_by_token("t", resolve_data="none"),
        (await world.storage.hooks.list(run_id, resolve_data="none")).data[0],
    ):
        ensure_equal((found.metadata, found.token, found.kind), (None, "t", "hook"), "the hook")
