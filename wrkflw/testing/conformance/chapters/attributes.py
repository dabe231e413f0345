"""Attributes: small labels, merged one by one, and found by."""

from __future__ import annotations

import asyncio

from wrkflw.testing.conformance.acts import attributes, begin, create, creation, no_trace, offer, record
from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure_equal, refusal
from wrkflw.testing.conformance.stage import Stage
from wrkflw.world import World
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError
from wrkflw.world.storage import RunFilter


def change(*pairs: tuple[str, str | None], reserved: bool = False) -> e.AttrSet:
    changes = [e.AttributeChange(key=key, value=value) for key, value in pairs]
    return e.AttrSet(changes=changes, allow_reserved_attributes=reserved)


async def attributes_of(world: World, run_id: str) -> dict[str, str]:
    return (await world.storage.runs.get(run_id)).attributes


@promise("§5 attr_set")
async def check_changes_are_merged(stage: Stage) -> None:
    """What is named is set, null deletes, the rest stays; deleting what is not there is no fault."""
    world = await stage.open()
    run_id = await create(world, creation(attributes={"team": "a", "city": "Ulm", "kept": "k"}))

    await record(world, run_id, change(("team", "b"), ("city", None), ("gone", None), ("new", "")))

    ensure_equal(await attributes_of(world, run_id), {"team": "b", "kept": "k", "new": ""}, "the attributes")


@promise("§5 attr_set")
async def check_writers_at_once_lose_no_change(stage: Stage) -> None:
    """Changes of many writers at once are all merged."""
    world = await stage.open()
    run_id = await begin(world)

    await asyncio.gather(
        *(world.storage.events.create(run_id, attributes(**{f"key_{number}": str(number)})) for number in range(10))
    )

    wanted = {f"key_{number}": str(number) for number in range(10)}
    ensure_equal(await attributes_of(world, run_id), wanted, "the attributes")


@promise("§5 attr_set")
async def check_what_is_too_much_is_refused(stage: Stage) -> None:
    """Values over 256 UTF-8 bytes, keys over 256 characters or empty, a key twice, over 8 KiB: 400, and no trace."""
    world = await stage.open()
    run_id = await begin(world, attributes(team="a"))

    async with no_trace(world, run_id):
        for pairs in (
            [("team", "ä" * 128 + "b")],
            [("k" * 257, "v")],
            [("", "v")],
            [("city", "Ulm"), ("city", "Bonn")],
            [(f"{number:02d}" + "k" * 100, "v" * 256) for number in range(30)],
        ):
            await offer(world, run_id, "attr_set", changes=[{"key": key, "value": value} for key, value in pairs])


@promise("§5 attr_set")
async def check_what_just_fits_is_taken(stage: Stage) -> None:
    """A value of 256 bytes and a key of 256 characters are fine."""
    world = await stage.open()
    run_id = await begin(world)

    await record(world, run_id, change(("k" * 256, "ä" * 128)))

    ensure_equal(await attributes_of(world, run_id), {"k" * 256: "ä" * 128}, "the attributes")


@promise("§5 attr_set")
async def check_a_run_has_at_most_64(stage: Stage) -> None:
    """The 65th key after the merge is 400; at 64, one may be exchanged for another."""
    world = await stage.open()
    run_id = await create(world, creation(attributes={f"k{number}": "v" for number in range(64)}))

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, attributes(more="v")), 400)
    await record(world, run_id, change(("more", "v"), ("k0", None)))

    ensure_equal(len(await attributes_of(world, run_id)), 64, "attributes")


@promise("§5 attr_set")
async def check_reserved_names_need_leave(stage: Stage) -> None:
    """Keys that begin with ``$`` are 400 unless the caller says that it may."""
    world = await stage.open()
    run_id = await begin(world)

    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, change(("$by", "me"))), 400)
    await refusal(world.storage.events.create(None, creation(attributes={"$by": "me"})), 400)
    await record(world, run_id, change(("$by", "me"), reserved=True))

    ensure_equal(await attributes_of(world, run_id), {"$by": "me"}, "the attributes")


@promise("§5 attr_set")
async def check_a_change_of_the_programs_is_made_once(stage: Stage) -> None:
    """A change with an id is made once: the second is 409, and an invalid one does not use the id up."""
    world = await stage.open()
    run_id = await begin(world)

    def named(key: str, value: str) -> e.AttrSet:
        changes = [e.AttributeChange(key=key, value=value)]
        return e.AttrSet(correlation_id="attr_a", changes=changes)

    await refusal(world.storage.events.create(run_id, named("$by", "me")), 400)
    await record(world, run_id, named("team", "a"))
    async with no_trace(world, run_id):
        await refusal(world.storage.events.create(run_id, named("team", "b")), 409, EntityConflictError)


@promise("§8 runs.list", need="search")
async def check_runs_are_found_by_them(stage: Stage) -> None:
    """A filter finds the runs that have all the pairs now, and no other."""
    world = await stage.open()
    both = await create(world, creation(attributes={"team": "a", "city": "Ulm"}))
    changed = await create(world, creation(attributes={"team": "a", "city": "Bonn"}))
    await create(world, creation(attributes={"team": "b", "city": "Ulm"}))

    async def found(**pairs: str) -> list[str]:
        return [run.run_id for run in (await world.storage.runs.list(RunFilter(attributes=pairs))).data]

    ensure_equal(await found(team="a"), [changed, both], "runs of the team")
    ensure_equal(await found(team="a", city="Ulm"), [both], "runs of the team in the city")
    await record(world, changed, change(("team", None)))
    ensure_equal(await found(team="a"), [both], "runs of the team, after one has left")
    ensure_equal(await found(team="A"), [], "runs of a team that is written otherwise")
