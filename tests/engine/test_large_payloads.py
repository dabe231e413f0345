"""Runs whose values are large, encrypted, or damaged: they go on where they can, and say why where they cannot."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from wrkflw import Completed, Event, Failed, Runtime, StoreError, Waiting, Workflow, create_workflow, step
from wrkflw.codecs import AesGcm
from wrkflw.world import events as e
from wrkflw.world.errors import DamagedPayloadError
from wrkflw.worlds.blobs import FileBlobs
from wrkflw.worlds.sqlite import SqliteWorld

GO = Event("go", str)
SECRET = "canary-in-the-mine"
LARGE = SECRET * 2_000
KEYS = {"2026-01": b"o" * 32, "2026-02": b"n" * 32}


def echoing(begun: list[str]) -> Workflow[str, str, None]:
    @step
    async def double(data: str) -> str:
        begun.append("double")
        return data * 2

    @step
    async def shorten(data: str) -> str:
        begun.append("shorten")
        return data[: len(SECRET)] + str(len(data))

    chain = create_workflow(id="echoing", input_schema=str, output_schema=str).then(double)
    return chain.join_event(GO, lambda before, word: before + word).then(shorten).commit()


@pytest.fixture
def begun() -> list[str]:
    return []


@pytest.fixture
def workflow(begun: list[str]) -> Workflow[str, str, None]:
    return echoing(begun)


def world_in(tmp_path: Path, clock: ManualClock, codec: AesGcm | None = None) -> SqliteWorld:
    return SqliteWorld(tmp_path / "app.db", clock=clock, codec=codec, blobs=FileBlobs(tmp_path / "blobs"))


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def written(world: SqliteWorld, run_id: str, event_type: str) -> asyncio.Future[None]:
    """Done once such an event was committed."""
    heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def hear(about: str, event_types: Sequence[str]) -> None:
        if about == run_id and event_type in event_types and not heard.done():
            heard.set_result(None)

    world.subscribe(hear)
    return heard


async def parked(runtime: Runtime, workflow: Workflow[str, str, None], run_id: str, data: str) -> None:
    run = await workflow.create_run(run_id=run_id)
    assert isinstance(await run.start(data, wait="0s"), Waiting)


@pytest.mark.parametrize("codec", [None, AesGcm(keys=KEYS, current="2026-01")], ids=["plain", "encrypted"])
async def test_a_run_with_large_values_outlives_its_process(
    tmp_path: Path, clock: ManualClock, workflow: Workflow[str, str, None], begun: list[str], codec: AesGcm | None
) -> None:
    async with Runtime(world=world_in(tmp_path, clock, codec), clock=clock, workflows=[workflow]) as runtime:
        await parked(runtime, workflow, "r-1", LARGE)
    async with Runtime(world=world_in(tmp_path, clock, codec), clock=clock, workflows=[workflow]) as runtime:
        run = await workflow.get_run("r-1")
        result = await run.send_event(GO, LARGE)

    assert isinstance(result, Completed)
    assert result.output == f"{SECRET}{3 * len(LARGE)}"
    assert begun == ["double", "shorten"]
    # Its input and the event are equal, the output of its first step is the other large value; one more for both.
    assert len(list((tmp_path / "blobs").iterdir())) == 3


async def test_an_encrypted_run_leaves_nothing_to_read_and_its_key_can_be_rotated(
    tmp_path: Path, workflow: Workflow[str, str, None]
) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    async with Runtime(url, workflows=[workflow], codec=AesGcm(keys=KEYS, current="2026-01")) as runtime:
        await parked(runtime, workflow, "r-1", SECRET)
        await parked(runtime, workflow, "r-2", LARGE)
    async with Runtime(url, workflows=[workflow], codec=AesGcm(keys=KEYS, current="2026-02")):
        results = [await (await workflow.get_run(run_id)).send_event(GO, SECRET) for run_id in ("r-1", "r-2")]

    assert all(isinstance(result, Completed) for result in results)
    assert len(everything_in(tmp_path)) > len(LARGE)
    assert SECRET.encode() not in everything_in(tmp_path)


async def test_who_has_another_key_of_that_name_leaves_the_run_as_it_was(
    tmp_path: Path, workflow: Workflow[str, str, None]
) -> None:
    """To pause it would be to write into its log with a key that nobody else has."""
    url = f"sqlite:///{tmp_path / 'app.db'}"
    right, wrong = (AesGcm(keys={"2026-01": key}, current="2026-01") for key in KEYS.values())
    async with Runtime(url, workflows=[workflow], codec=right, worker=False):
        await (await workflow.create_run(run_id="r-1")).enqueue(SECRET)
    async with Runtime(url, workflows=[workflow], codec=wrong) as runtime:
        with pytest.raises(StoreError, match=r"another key that was called '2026-01' wrote it; give that one$"):
            await (await workflow.get_run("r-1")).result()
        assert (await runtime.runs.get("r-1")).waiting_for != "paused"
    async with Runtime(url, workflows=[workflow], codec=right):
        result = await (await workflow.get_run("r-1")).send_event(GO, SECRET)

    assert isinstance(result, Completed)


async def test_without_its_key_a_run_waits_for_one_who_has_it(
    tmp_path: Path, workflow: Workflow[str, str, None]
) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    async with Runtime(url, workflows=[workflow], codec=AesGcm(keys=KEYS, current="2026-01")) as runtime:
        await parked(runtime, workflow, "r-1", SECRET)
    other = AesGcm(keys={"2026-02": KEYS["2026-02"]}, current="2026-02")
    async with Runtime(url, workflows=[workflow], codec=other):
        with pytest.raises(StoreError, match="there is no key '2026-01'; add it to keys="):
            await (await workflow.get_run("r-1")).result()
    async with Runtime(url, workflows=[workflow], codec=AesGcm(keys=KEYS, current="2026-01")):
        result = await (await workflow.get_run("r-1")).send_event(GO, SECRET)

    assert isinstance(result, Completed)


class Archive(FileBlobs):
    """Once, who asks for a blob has to wait for it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked, self.handed_out = threading.Event(), threading.Event()
        self.busy = False

    def get(self, name: str, /) -> bytes:
        if self.busy:
            self.busy = False
            self.asked.set()
            self.handed_out.wait(10)
        return super().get(name)


async def test_who_waits_hears_of_an_end_that_comes_while_he_reads_the_log(
    tmp_path: Path, clock: ManualClock, workflow: Workflow[str, str, None]
) -> None:
    archive = Archive(tmp_path / "blobs")
    world = SqliteWorld(tmp_path / "app.db", clock=clock, blobs=archive)
    async with Runtime(world=world, clock=clock, workflows=[workflow]) as runtime:
        await parked(runtime, workflow, "r-1", LARGE)
        run = await workflow.get_run("r-1")
        archive.busy = True
        waiting = asyncio.ensure_future(run.result())
        await asyncio.to_thread(archive.asked.wait, 10)
        await run.send_event(GO, "!")
        ended = await (await workflow.get_run("r-1")).result()
        archive.handed_out.set()

        assert await asyncio.wait_for(waiting, 10) == ended


async def test_what_the_world_does_not_take_ends_the_run(
    clock: ManualClock, workflow: Workflow[str, str, None]
) -> None:
    """A World of one's own may take less than the runtime allows."""
    world = SqliteWorld(":memory:", clock=clock, payload_max=1_000)
    async with Runtime(world=world, clock=clock, workflows=[workflow]):
        run = await workflow.create_run()
        result = await run.start("x" * 700)

    assert isinstance(result, Failed)
    assert result.error.type == "LimitError"
    assert "'result' for " in result.error.message
    assert "has 1,402 bytes, the limit is 1,000" in result.error.message


async def test_a_damaged_payload_pauses_its_run_and_no_other(
    tmp_path: Path, clock: ManualClock, workflow: Workflow[str, str, None], begun: list[str]
) -> None:
    async with Runtime(world=world_in(tmp_path, clock), clock=clock, workflows=[workflow]) as runtime:
        await parked(runtime, workflow, "r-1", LARGE)
        damaged = set((tmp_path / "blobs").iterdir())
        await parked(runtime, workflow, "r-2", LARGE + "!")
    kept = {path: path.read_bytes() for path in damaged}
    for path in damaged:
        path.unlink()

    world = world_in(tmp_path, clock)
    paused = written(world, "r-1", "run_paused")
    async with Runtime(world=world, clock=clock, workflows=[workflow]) as runtime:
        for run_id in ("r-1", "r-2"):
            await runtime.world.storage.events.create(run_id, e.SignalReceived(signal_type="go", payload_data=b'"!"'))
        second = await (await workflow.get_run("r-2")).result()
        await asyncio.wait_for(paused, 10)
        with pytest.raises(DamagedPayloadError, match=r"of run 'r-1' cannot be read: blob '\w+' is missing; restore"):
            await (await workflow.get_run("r-1")).result()
    assert isinstance(second, Completed)
    assert begun == ["double", "double", "shorten"]

    for path, data in kept.items():
        path.write_bytes(data)
    world = world_in(tmp_path, clock)
    resumed = written(world, "r-1", "run_resumed")
    async with Runtime(world=world, clock=clock, workflows=[workflow]):
        await asyncio.wait_for(resumed, 10)
        first = await (await workflow.get_run("r-1")).result()
    assert isinstance(first, Completed)
