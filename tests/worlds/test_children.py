"""What is opened before a fork is the parent's: the child is told so, and harms nobody."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from wrkflw import Runtime, create_workflow, step
from wrkflw.errors import StoreError
from wrkflw.world import events as e
from wrkflw.worlds.presence import Presence
from wrkflw.worlds.sqlite import SqliteWorld

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
CREATED = e.RunCreated(workflow_name="greet")
REFUSAL = "this process was forked from the one that opened the database; open a Runtime of its own here"


def in_child(work: Callable[[], Awaitable[object]]) -> str:
    """What ``work`` came to on a loop of its own in a forked process."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            said = str(asyncio.new_event_loop().run_until_complete(work()))
        except StoreError as error:
            said = str(error)
        except BaseException as error:  # noqa: BLE001  # the parent is told
            said = repr(error)
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    said = os.read(reader, 10_000).decode()
    os.close(reader)
    os.waitpid(pid, 0)
    return said


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


async def test_a_child_may_neither_read_nor_write_with_the_world_of_its_parent(path: Path) -> None:
    world = SqliteWorld(path)
    await world.start()
    run_id = (await world.storage.events.create(None, CREATED)).run.run_id

    assert in_child(lambda: world.storage.runs.locate(run_id)) == REFUSAL
    assert in_child(lambda: world.storage.events.create(None, CREATED)) == REFUSAL

    await world.storage.events.create(None, CREATED)
    assert len((await world.storage.runs.list()).data) == 2
    await world.close()


async def test_a_child_may_open_the_file_for_itself(path: Path) -> None:
    world = SqliteWorld(path)
    await world.start()

    async def write() -> str:
        own = SqliteWorld(path)
        await own.start()
        run_id = (await own.storage.events.create(None, CREATED)).run.run_id
        await own.close()
        return run_id

    run_id = in_child(write)

    assert (await world.storage.runs.locate(run_id)).run_id == run_id
    await world.close()


async def test_a_child_that_outlives_its_parent_does_not_make_it_look_alive(path: Path, clock: ManualClock) -> None:
    world = SqliteWorld(path, clock=clock)
    await world.start()
    go, gone = os.pipe()
    here, born = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(gone)
        os.write(born, b".")
        os.read(go, 1)
        os._exit(0)
    os.read(here, 1)

    world.abandon()

    probe = Presence("own_other", clock, world._presence._lease, path.with_name("a.db-owners"))
    assert not probe.holds_its_lock(path.with_name("a.db-owners") / world.owner)
    for descriptor in (gone, go, here, born):
        os.close(descriptor)
    await asyncio.to_thread(os.waitpid, pid, 0)


async def test_a_child_begins_with_a_runtime_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRKFLW_DATABASE_URL", f"sqlite:///{tmp_path / 'child.db'}")

    @step
    async def double(data: int) -> int:
        return 2 * data

    workflow = create_workflow(id="doubling", input_schema=int, output_schema=int).then(double).commit()
    async with Runtime(":memory:", workflows=[workflow]) as runtime:
        assert in_child(lambda: workflow.run(2)) == "4"
        assert (await runtime.runs.list()).data == []
