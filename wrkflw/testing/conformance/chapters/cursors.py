"""Cursors: one process at a time reads a source, from where the last one was."""

from __future__ import annotations

import asyncio

from wrkflw.testing.conformance.checks import promise
from wrkflw.testing.conformance.ensure import ensure, ensure_equal
from wrkflw.testing.conformance.stage import NotOffered, Stage
from wrkflw.world import World
from wrkflw.world.cursors import Cursors, Held

MAIL = "mail"


async def opened(stage: Stage, namespace: str = "default") -> Cursors:
    """The cursors of another process."""
    return of(await stage.open(namespace))


def of(world: World) -> Cursors:
    if not world.capabilities.cursors:
        raise NotOffered("the World does not claim 'cursors'")
    return world.storage.cursors


@promise("§ cursors", need="cursors")
async def check_a_source_is_read_from_where_it_was_read_last(stage: Stage) -> None:
    """Who takes a source gets the last position, None where there is none; taking it again does not forget it."""
    cursors = await opened(stage)

    ensure_equal(await cursors.take(MAIL), Held(None), "a source that nobody has read")
    for position in ("7", "9"):
        ensure(await cursors.advance(MAIL, position), "who has a source could not say how far it was read")
    for _ in range(2):
        await cursors.release(MAIL)
        ensure_equal(await cursors.take(MAIL), Held("9"), "what is taken after it was given back")


@promise("§ cursors", need="lasting")
async def check_the_next_one_goes_on_where_the_last_one_was(stage: Stage) -> None:
    """The position is that of the source, whoever reads it."""
    one, other = await opened(stage), await opened(stage)
    await one.take(MAIL)
    await one.advance(MAIL, "7")
    await one.release(MAIL)

    ensure_equal(await other.take(MAIL), Held("7"), "what the next one takes")


@promise("§ cursors", need="lasting")
async def check_one_process_at_a_time_reads_a_source(stage: Stage) -> None:
    """While a World has a source, nobody takes it, that World included."""
    one, other = await opened(stage), await opened(stage)
    await one.take(MAIL)

    ensure_equal((await other.take(MAIL), await one.take(MAIL)), (None, None), "what others take")
    ensure_equal(await other.take("post"), Held(None), "another source")


@promise("§ cursors", need="lasting")
async def check_of_many_who_take_a_source_one_has_it(stage: Stage) -> None:
    """Also when they do at the same time."""
    many = [await opened(stage) for _ in range(4)]

    taken = await asyncio.gather(*(cursors.take(MAIL) for cursors in many))

    ensure_equal([held for held in taken if held is not None], [Held(None)], "who has it")


@promise("§ cursors", need="lasting")
async def check_only_who_has_a_source_moves_or_releases_it(stage: Stage) -> None:
    """Of all others, those too that had it before, nothing changes."""
    one, other = await opened(stage), await opened(stage)
    ensure(not await one.advance(MAIL, "1"), "a source that nobody has was moved")
    await one.take(MAIL)
    await one.advance(MAIL, "3")

    ensure(not await other.advance(MAIL, "9"), "a source was moved by another World")
    await other.release(MAIL)
    ensure_equal(await other.take(MAIL), None, "a source that another World has released")
    await one.release(MAIL)
    ensure(not await one.advance(MAIL, "4"), "a source was moved by who has given it back")
    ensure_equal(await other.take(MAIL), Held("3"), "its position")


@promise("§ cursors", need="lasting")
async def check_a_source_of_a_world_that_is_closed_is_free(stage: Stage) -> None:
    """Whether it gave it back or not."""
    gone, other = await stage.open(), await opened(stage)
    await of(gone).take(MAIL)
    await of(gone).advance(MAIL, "5")

    await stage.close(gone)

    ensure_equal(await other.take(MAIL), Held("5"), "what the next one takes")


@promise("§ cursors", need="lasting")
async def check_sources_of_other_namespaces_are_not_seen(stage: Stage) -> None:
    """A namespace has sources of its own, also of the same name."""
    here, there = await opened(stage), await opened(stage, "other")
    await here.take(MAIL)
    await here.advance(MAIL, "5")

    ensure_equal(await there.take(MAIL), Held(None), "the same name in another namespace")
