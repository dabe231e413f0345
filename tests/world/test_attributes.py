from __future__ import annotations

import pytest

from tests.clocks import START
from wrkflw.world import events as e
from wrkflw.world.errors import EntityConflictError, WorldError
from wrkflw.worlds.sqlite import SqliteWorld

from .looks import assert_the_views_are_the_fold, log_of, new_run_id

CLAIMED = "attr_1"


async def new_run(world: SqliteWorld, **attributes: str) -> str:
    run_id = new_run_id(START)
    await world.storage.events.create(run_id, e.RunCreated(workflow_name="greet", attributes=attributes))
    return run_id


def change(claim: str | None = None, **values: str | None) -> e.AttrSet:
    changes = [e.AttributeChange(key=key, value=value) for key, value in values.items()]
    return e.AttrSet(changes=changes, correlation_id=claim)


async def test_changes_are_merged_and_none_deletes(world: SqliteWorld) -> None:
    run_id = await new_run(world, team="a", stage="new")

    answer = await world.storage.events.create(run_id, change(team="b", stage=None, region="eu"))

    assert answer.run.attributes == {"team": "b", "region": "eu"}
    assert (await world.storage.runs.get(run_id)).attributes == {"team": "b", "region": "eu"}
    await assert_the_views_are_the_fold(world, run_id)


async def test_every_answer_shows_the_attributes(world: SqliteWorld) -> None:
    run_id = await new_run(world, team="a")

    assert (await world.storage.events.create(run_id, e.RunStarted())).run.attributes == {"team": "a"}


async def test_a_change_is_made_once(world: SqliteWorld) -> None:
    run_id = await new_run(world)
    await world.storage.events.create(run_id, change(CLAIMED, team="a"))

    with pytest.raises(EntityConflictError, match=f"attribute change 'attr_1' of {run_id} is already recorded"):
        await world.storage.events.create(run_id, change(CLAIMED, team="b"))


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (change(team="é" * 129), "attribute 'team' is longer than 256 bytes; keep it in a step's result"),
        (
            change(team="caf\udce9"),
            r"attribute 'team' is no Unicode text: 'caf.udce9'; decode it before you pass it on",
        ),
        (change(team="a\0b"), "attribute 'team' holds a NUL, by which no run is found; leave it out"),
        (change(None, **{"a\0b": "a"}), r"attribute name 'a.x00b' must have 1 to 256 characters, none of them NUL"),
        (change(None, **{"$team": "a"}), "attribute '\\$team' begins with '\\$', which is reserved; take another name"),
        (change(None, **{f"k{n}": "" for n in range(65)}), "a run has at most 64 attributes, this makes 65; drop some"),
        (change(None, **{f"{n:02}": "x" * 256 for n in range(32)}), "a change of attributes is longer than 8192 bytes"),
        (
            e.AttrSet(changes=[e.AttributeChange(key="a", value="1"), e.AttributeChange(key="a", value=None)]),
            "an attribute is named twice in one change; name it once",
        ),
    ],
)
async def test_an_invalid_change_is_refused_and_does_not_use_up_its_claim(
    event: e.AttrSet, text: str, world: SqliteWorld
) -> None:
    run_id = await new_run(world)

    with pytest.raises(WorldError, match=text) as refused:
        await world.storage.events.create(run_id, event.model_copy(update={"correlation_id": CLAIMED}))
    await world.storage.events.create(run_id, change(CLAIMED, team="a"))

    assert refused.value.status == 400
    assert len(await log_of(world, run_id)) == 2


async def test_a_full_set_of_attributes_may_be_exchanged_one_for_another(world: SqliteWorld) -> None:
    run_id = await new_run(world, **{f"k{n}": "" for n in range(64)})

    with pytest.raises(WorldError, match="a run has at most 64 attributes, this makes 65"):
        await world.storage.events.create(run_id, change(team="a"))
    await world.storage.events.create(run_id, change(k0=None, team="a"))

    assert len((await world.storage.runs.get(run_id)).attributes) == 64


async def test_reserved_attributes_need_to_be_allowed(world: SqliteWorld) -> None:
    run_id = await new_run(world)
    reserved = change(None, **{"$retention": "60"}).model_copy(update={"allow_reserved_attributes": True})

    await world.storage.events.create(run_id, reserved)
    await world.storage.events.create(run_id, change(team="a"))

    assert (await world.storage.runs.get(run_id)).attributes == {"$retention": "60", "team": "a"}
    with pytest.raises(WorldError, match="begins with '\\$'"):
        await new_run(world, **{"$retention": "60"})


async def test_a_run_cannot_be_kept_for_no_number_of_seconds(world: SqliteWorld) -> None:
    run_id = await new_run(world)
    allowed = {"allow_reserved_attributes": True}
    nothing = change(None, **{"$retention": ""}).model_copy(update=allowed)
    created = e.RunCreated(workflow_name="greet", attributes={"$retention": ""}, allow_reserved_attributes=True)

    with pytest.raises(WorldError, match="'\\$retention' cannot be ''; give it a whole number of seconds"):
        await world.storage.events.create(run_id, nothing)
    with pytest.raises(WorldError, match="'\\$retention' cannot be ''"):
        await world.storage.events.create(None, created)
    await world.storage.events.create(run_id, change(None, **{"$retention": None}).model_copy(update=allowed))
    await world.storage.events.create(run_id, e.RunCancelled())


async def test_a_batch_that_creates_a_run_sets_its_attributes(world: SqliteWorld) -> None:
    from wrkflw.world.storage import Claim

    run_id = new_run_id(START)
    creation = e.RunCreated(workflow_name="greet", attributes={"team": "a"})

    await world.storage.events.create_batch(run_id, [creation, e.RunStarted()], claim=Claim(world.owner))

    assert (await world.storage.runs.get(run_id)).attributes == {"team": "a"}


@pytest.mark.parametrize("attributes", [{"team": "caf\udce9"}, {"caf\udce9": "a"}, {"team": "a\0b"}, {"a\0b": "a"}])
async def test_no_run_is_created_with_a_label_that_cannot_be_found(
    attributes: dict[str, str], world: SqliteWorld
) -> None:
    with pytest.raises(WorldError) as refused:
        await new_run(world, **attributes)

    assert refused.value.status == 400
    assert (await world.storage.runs.list()).data == []
