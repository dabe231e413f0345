"""Broken cursors."""

from __future__ import annotations

from typing import Any

from .defects import BrokenWorld, noticed_by


def _cursors(world: BrokenWorld) -> Any:
    return world.storage.cursors


@noticed_by("cursors/one_process_at_a_time_reads_a_source", "cursors/of_many_who_take_a_source_one_has_it")
def lets_many_read_a_source(world: BrokenWorld) -> None:
    _cursors(world)._owner_is_live = lambda connection, owner: False


@noticed_by("cursors/one_process_at_a_time_reads_a_source")
def gives_a_source_twice_to_the_same(world: BrokenWorld) -> None:
    cursors = _cursors(world)
    alive = cursors._owner_is_live
    cursors._owner_is_live = lambda connection, owner: owner != cursors._owner and alive(connection, owner)


@noticed_by("cursors/only_who_has_a_source_moves_or_releases_it")
def believes_everybody_who_moves_a_source(world: BrokenWorld) -> None:
    async def advance(sound: Any, source: str, position: str) -> bool:
        await sound(source, position)
        world.sql("UPDATE cursors SET position = ? WHERE source = ?", position, source)
        return True

    world.alter(_cursors(world), "advance", advance)


@noticed_by("cursors/only_who_has_a_source_moves_or_releases_it")
def believes_everybody_who_releases_a_source(world: BrokenWorld) -> None:
    async def release(_sound: Any, source: str) -> None:
        world.sql("UPDATE cursors SET owner = NULL WHERE source = ?", source)

    world.alter(_cursors(world), "release", release)


@noticed_by("cursors/a_source_is_read_from_where_it_was_read_last")
def forgets_a_position_that_is_taken(world: BrokenWorld) -> None:
    async def take(sound: Any, source: str) -> object:
        held = await sound(source)
        if held is not None:
            world.sql("UPDATE cursors SET position = NULL WHERE source = ?", source)
        return held

    world.alter(_cursors(world), "take", take)


@noticed_by("cursors/the_next_one_goes_on_where_the_last_one_was")
def keeps_positions_in_the_process(world: BrokenWorld) -> None:
    positions: dict[str, str] = {}

    async def advance(_sound: Any, source: str, position: str) -> bool:
        positions[source] = position
        return True

    async def take(sound: Any, source: str) -> object:
        held = await sound(source)
        return held and held._replace(position=positions.get(source))

    world.alter(_cursors(world), "advance", advance)
    world.alter(_cursors(world), "take", take)


@noticed_by("cursors/a_source_of_a_world_that_is_closed_is_free")
def keeps_a_source_for_ever(world: BrokenWorld) -> None:
    _cursors(world)._owner_is_live = lambda connection, owner: True


@noticed_by("cursors/sources_of_other_namespaces_are_not_seen")
def knows_sources_by_their_name_alone(world: BrokenWorld) -> None:
    _cursors(world)._namespace = "default"
