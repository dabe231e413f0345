"""Blob stores: what they promise, and what the World makes of it when others write and collect at the same time."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from wrkflw.errors import StoreError
from wrkflw.world import events as e
from wrkflw.world.errors import DamagedPayloadError, StoreRefusedError
from wrkflw.world.payloads import BlobStore
from wrkflw.worlds.blobs import FileBlobs, blobs_at
from wrkflw.worlds.object_store import ObjectBlobs
from wrkflw.worlds.sql import compiled as sql
from wrkflw.worlds.sqlite import SqliteWorld

LARGE = b"large \x00 " * 4_000
OTHER = b"other \x00 " * 4_000
LONG_AGO = (1_577_836_800.0, 1_577_836_800.0)
"""2020, as ``os.utime`` takes it."""


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def in_memory(_: Path) -> BlobStore:
    return ObjectBlobs(pytest.importorskip("obstore.store").MemoryStore())


def in_a_bucket_of_files(tmp_path: Path) -> BlobStore:
    return ObjectBlobs(pytest.importorskip("obstore.store").LocalStore(tmp_path))


def in_a_folder(tmp_path: Path) -> BlobStore:
    return FileBlobs(tmp_path / "blobs")


STORES = pytest.mark.parametrize("make", [in_a_folder, in_memory, in_a_bucket_of_files])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def files(folder: Path) -> FileBlobs:
    return FileBlobs(folder)


# --- every store ---------------------------------------------------------------------------------------


@STORES
def test_what_is_put_is_got(make: Callable[[Path], BlobStore], tmp_path: Path) -> None:
    blobs = make(tmp_path)
    blobs.put("ab-12", LARGE)
    blobs.put("ab-12", LARGE)
    blobs.put("ab-13", b"")

    assert (blobs.get("ab-12"), blobs.get("ab-13")) == (LARGE, b"")
    assert sorted(name for name, _ in blobs.list()) == ["ab-12", "ab-13"]
    assert all(at.tzinfo is not None for _, at in blobs.list())


@STORES
def test_what_is_deleted_is_gone(make: Callable[[Path], BlobStore], tmp_path: Path) -> None:
    blobs = make(tmp_path)
    blobs.put("ab-12", LARGE)
    blobs.delete("ab-12")
    blobs.delete("ab-12")

    with pytest.raises(FileNotFoundError):
        blobs.get("ab-12")
    assert list(blobs.list()) == []


# --- files ---------------------------------------------------------------------------------------------


def test_files_are_their_owners_alone(files: FileBlobs, folder: Path) -> None:
    files.put("ab-12", LARGE)

    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in files_in(folder)] == [0o600]


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "/etc/passwd", "a\x00", "%2e%2e", "A", "x" * 4096, "a."])
def test_a_name_cannot_lead_out_of_the_folder(files: FileBlobs, name: str) -> None:
    for call in (files.get, files.delete, lambda name: files.put(name, b"1")):
        with pytest.raises(ValueError, match="cannot be the name of a blob"):
            call(name)


def test_links_are_not_followed(files: FileBlobs, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    files.put("ab-12", b"1")
    (folder / "ab-13").symlink_to(secret)

    with pytest.raises(OSError, match="symbolic link"):
        files.get("ab-13")
    files.put("ab-13", b"public")
    assert secret.read_bytes() == b"secret"
    assert files.get("ab-13") == b"public"


def test_a_file_that_is_too_short_is_written_anew(files: FileBlobs, folder: Path) -> None:
    files.put("ab-12", LARGE)
    (folder / "ab-12").write_bytes(LARGE[:10])

    files.put("ab-12", LARGE)

    assert files.get("ab-12") == LARGE


def test_a_blob_that_cannot_be_finished_leaves_nothing(
    files: FileBlobs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    files.put("ab-12", b"1")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.put("ab-13", LARGE)

    assert [path.name for path in files_in(folder)] == ["ab-12"]


def test_a_url_names_a_store(tmp_path: Path) -> None:
    blobs = blobs_at((tmp_path / "my blobs").as_uri())
    blobs.put("ab-12", b"1")

    assert (tmp_path / "my blobs" / "ab-12").read_bytes() == b"1"
    assert isinstance(blobs_at("memory:///"), ObjectBlobs)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("blobs", "'blobs' is no blob store; use 'file:///path/to/folder' or 's3://bucket/prefix'"),
        ("file://host/x", "'file://host/x' is no blob store; use 'file:///path/to/folder' or 's3://bucket/prefix'"),
        (
            "what://x",
            "'what://x' is no blob store: Generic URL error: Unable to recognise URL \"what://x\"; "
            "use 's3://bucket/prefix'",
        ),
    ],
)
def test_a_url_that_names_none_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(StoreRefusedError) as refused:
        blobs_at(url)

    assert str(refused.value) == sentence


# --- a World with a store ------------------------------------------------------------------------------


async def opened(blobs: BlobStore, clock: ManualClock, hear: Callable[[str], None] | None = None) -> SqliteWorld:
    world = SqliteWorld(":memory:", clock=clock, blobs=blobs, on_statement=hear)
    await world.start()
    return world


async def created(world: SqliteWorld, run_id: str, data: bytes) -> None:
    await world.storage.events.create(run_id, e.RunCreated(workflow_name="w", input=data))


async def deleted(world: SqliteWorld, run_id: str) -> None:
    await world.storage.events.create(run_id, e.RunCancelled())
    await world.storage.runs.delete(run_id)


@STORES
async def test_large_payloads_are_kept_in_the_store(
    make: Callable[[Path], BlobStore], tmp_path: Path, clock: ManualClock
) -> None:
    blobs = make(tmp_path)
    world = await opened(blobs, clock)
    await created(world, "r-1", LARGE)
    await created(world, "r-2", LARGE)
    await created(world, "r-3", b"small")

    ((name, _),) = blobs.list()
    assert name.endswith(f"-{sha256(LARGE).hexdigest()}")
    assert blobs.get(name) == LARGE
    assert [(await world.storage.runs.get(run_id)).input for run_id in ("r-1", "r-2", "r-3")] == [
        LARGE,
        LARGE,
        b"small",
    ]
    assert (await world.storage.events.list("r-1")).data[0].event == e.RunCreated(workflow_name="w", input=LARGE)
    await world.close()


async def test_a_blob_is_there_before_the_event_that_refers_to_it(
    files: FileBlobs, folder: Path, clock: ManualClock
) -> None:
    seen: list[list[str]] = []

    def hear(text: str) -> None:
        if text == sql.EVENT_INSERT.text:
            seen.append([path.name for path in files_in(folder)])

    world = await opened(files, clock, hear)
    await created(world, "r-1", LARGE)

    assert [len(names) for names in seen] == [1]
    await world.close()


async def test_a_commit_that_fails_leaves_a_blob_for_the_collector(
    files: FileBlobs, folder: Path, clock: ManualClock
) -> None:
    fails = [False]

    def hear(text: str) -> None:
        if fails[0] and text == sql.EVENT_INSERT.text:
            raise sqlite3.OperationalError("disk I/O error")

    world = await opened(files, clock, hear)
    fails[0] = True
    with pytest.raises(StoreError, match="could not commit"):
        await created(world, "r-1", LARGE)
    fails[0] = False

    assert len(files_in(folder)) == 1
    assert (await world.storage.runs.list()).data == []
    clock.turn(timedelta(hours=25))
    assert await world.storage.payloads.collect() == 1
    assert files_in(folder) == []
    await world.close()


async def test_a_store_that_takes_nothing_refuses_the_write(clock: ManualClock) -> None:
    class Full(FileBlobs):
        def put(self, name: str, data: bytes, /) -> None:
            raise OSError(28, "No space left on device")

    world = await opened(Full("/nowhere"), clock)

    with pytest.raises(StoreError, match=r"could not be written to the blob store: .*No space left.*; try again"):
        await created(world, "r-1", LARGE)
    assert (await world.storage.runs.list()).data == []
    await world.close()


async def test_listings_do_not_read_blobs(clock: ManualClock, folder: Path) -> None:
    class WriteOnly(FileBlobs):
        def get(self, name: str, /) -> bytes:
            raise AssertionError(name)

    world = await opened(WriteOnly(folder), clock)
    await created(world, "r-1", LARGE)

    assert (await world.storage.runs.list()).data[0].input is None
    assert (await world.storage.runs.get("r-1", resolve_data="none")).input is None
    (event,) = (await world.storage.events.list("r-1", resolve_data="none")).data
    assert event.event == e.RunCreated(workflow_name="w")
    await world.storage.events.create("r-1", e.RunPaused())  # its answer has no input, and yet it is written
    assert (await world.storage.runs.get("r-1", resolve_data="none")).paused_at is not None
    await world.close()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path: path.unlink(), r"blob '\w{64}' is missing"),
        (lambda path: path.write_bytes(LARGE[:-1]), r"what is kept as '\w{64}' does not have this hash"),
        (lambda path: path.write_bytes(LARGE[:-1] + b"x"), r"what is kept as '\w{64}' does not have this hash"),
    ],
)
async def test_a_blob_that_is_not_what_was_written_is_not_handed_out(
    files: FileBlobs, folder: Path, clock: ManualClock, change: Callable[[Path], object], why: str
) -> None:
    world = await opened(files, clock)
    await created(world, "r-1", LARGE)
    (path,) = files_in(folder)
    change(path)

    sentence = f"^slot 1 of run 'r-1' cannot be read: {why}; restore it from a backup$"
    with pytest.raises(DamagedPayloadError, match=sentence):
        await world.storage.events.list("r-1")
    with pytest.raises(DamagedPayloadError, match=sentence):
        await world.storage.runs.get("r-1")
    path.write_bytes(LARGE)
    assert (await world.storage.runs.get("r-1")).input == LARGE
    await world.close()


async def test_without_the_store_it_is_said_what_is_missing(tmp_path: Path, clock: ManualClock) -> None:
    with_store = SqliteWorld(tmp_path / "app.db", clock=clock, blobs=(tmp_path / "blobs").as_uri())
    await with_store.start()
    await created(with_store, "r-1", LARGE)
    await with_store.close()
    without = SqliteWorld(tmp_path / "app.db", clock=clock)
    await without.start()

    with pytest.raises(StoreError) as refused:
        await without.storage.runs.get("r-1")

    assert not isinstance(refused.value, DamagedPayloadError)
    assert str(refused.value) == "slot 1 of run 'r-1' is kept in a blob store; open the world with its blobs="
    await created(without, "r-2", LARGE)  # and what is written now is kept here
    assert (await without.storage.runs.get("r-1")).input == LARGE
    await without.close()


# --- collecting ----------------------------------------------------------------------------------------


async def test_blobs_that_nothing_refers_to_are_collected(files: FileBlobs, folder: Path, clock: ManualClock) -> None:
    world = await opened(files, clock)
    await created(world, "r-1", LARGE)
    await created(world, "r-2", OTHER)
    await deleted(world, "r-1")
    clock.turn(timedelta(hours=25))

    assert await world.storage.payloads.collect() == 1
    assert len(files_in(folder)) == 1
    assert (await world.storage.runs.get("r-2")).input == OTHER
    await world.close()


async def test_what_is_written_again_counts_from_then(files: FileBlobs, clock: ManualClock) -> None:
    world = await opened(files, clock)
    await created(world, "r-1", LARGE)
    clock.turn(timedelta(hours=24))
    await created(world, "r-2", LARGE)
    await deleted(world, "r-1")
    await deleted(world, "r-2")
    clock.turn(timedelta(hours=23))

    assert await world.storage.payloads.collect() == 0
    clock.turn(timedelta(hours=2))
    assert await world.storage.payloads.collect() == 1
    await world.close()


async def test_blobs_that_a_crash_left_are_collected(files: FileBlobs, folder: Path, clock: ManualClock) -> None:
    world = await opened(files, clock)
    await created(world, "r-1", LARGE)
    (ours,) = files_in(folder)
    prefix = ours.name.split("-")[0]
    strays = [
        f"{prefix}-{'0' * 64}",
        f"{prefix}-{'1' * 64}.{'2' * 16}",
        f"{prefix}-{'3' * 64}",
        f"{'4' * 16}-{'5' * 64}",
    ]
    for name in strays:
        (folder / name).write_bytes(b"half")
    for name in (strays[0], strays[1], strays[3], ours.name):
        os.utime(folder / name, LONG_AGO)

    assert await world.storage.payloads.collect() == 2
    # One is too young, one belongs to another namespace, and one is referred to.
    assert {path.name for path in files_in(folder)} == {strays[2], strays[3], ours.name}
    assert (await world.storage.runs.get("r-1")).input == LARGE
    await world.close()


class Stopping(FileBlobs):
    """Stops in the midst of a call, until the test lets it go on."""

    def __init__(self, folder: Path, at: str) -> None:
        super().__init__(folder)
        self.at = at
        self.arrived, self.go_on = threading.Event(), threading.Event()

    def put(self, name: str, data: bytes, /) -> None:
        super().put(name, data)
        self._stop("put")

    def delete(self, name: str, /) -> None:
        self._stop("delete")
        super().delete(name)

    def _stop(self, call: str) -> None:
        if call == self.at:
            self.arrived.set()
            assert self.go_on.wait(10)


async def reached(blobs: Stopping) -> None:
    assert await asyncio.to_thread(blobs.arrived.wait, 10)


async def test_what_is_written_while_its_blob_is_being_deleted_is_kept(folder: Path, clock: ManualClock) -> None:
    blobs = Stopping(folder, "delete")
    world = await opened(blobs, clock)
    await created(world, "r-1", LARGE)
    await deleted(world, "r-1")
    clock.turn(timedelta(hours=25))

    collecting = asyncio.create_task(world.storage.payloads.collect())
    await reached(blobs)
    await created(world, "r-2", LARGE)  # the blob exists still
    blobs.go_on.set()

    assert await collecting == 1
    assert files_in(folder) == []
    assert (await world.storage.runs.get("r-2")).input == LARGE
    await world.close()


async def test_one_process_at_a_time_collects(folder: Path, tmp_path: Path, clock: ManualClock) -> None:
    """Of two, the slower would delete what the faster has deleted already, and somebody has written again since."""
    slow = Stopping(folder, "delete")
    one = SqliteWorld(tmp_path / "one.db", clock=clock, blobs=slow)
    other = SqliteWorld(tmp_path / "one.db", clock=clock, blobs=FileBlobs(folder))
    await one.start()
    await other.start()
    await created(one, "r-1", LARGE)
    await deleted(one, "r-1")
    clock.turn(timedelta(hours=25))

    collecting = asyncio.create_task(one.storage.payloads.collect())
    await reached(slow)
    collected_beside = await other.storage.payloads.collect()
    await created(other, "r-2", LARGE)
    collecting.cancel()  # which does not let go in the middle
    slow.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await collecting

    assert collected_beside == 0
    assert (await other.storage.runs.get("r-2")).input == LARGE
    await created(one, "r-3", LARGE + b"!")
    await deleted(one, "r-3")
    clock.turn(timedelta(hours=25))
    assert await other.storage.payloads.collect() == 1
    await one.close()
    await other.close()


@pytest.mark.parametrize("turns", range(6))
async def test_who_is_cancelled_while_collecting_lets_others(folder: Path, clock: ManualClock, turns: int) -> None:
    world = await opened(FileBlobs(folder), clock)
    await created(world, "r-1", LARGE)
    await deleted(world, "r-1")
    clock.turn(timedelta(hours=25))

    collecting = asyncio.create_task(world.storage.payloads.collect())
    for _ in range(turns):
        await asyncio.sleep(0)
    collecting.cancel()
    with suppress(asyncio.CancelledError):
        await collecting
    await world.storage.payloads.collect()

    assert files_in(folder) == []
    assert await world.storage.cursors.take("$payloads") is not None
    await world.close()


async def test_what_is_collected_between_its_blob_and_its_event_is_kept(folder: Path, clock: ManualClock) -> None:
    """Its writer has found the blob, and was stopped for longer than anybody waits."""
    blobs = Stopping(folder, "put")
    world = await opened(blobs, clock)

    writing = asyncio.create_task(created(world, "r-1", LARGE))
    await reached(blobs)
    clock.turn(timedelta(hours=25))
    assert await world.storage.payloads.collect() == 1
    blobs.go_on.set()
    await writing

    assert files_in(folder) == []
    assert (await world.storage.runs.get("r-1")).input == LARGE
    await world.close()


async def test_a_deletion_that_a_crash_broke_off_is_taken_up(folder: Path, clock: ManualClock) -> None:
    class Failing(FileBlobs):
        fails = True

        def delete(self, name: str, /) -> None:
            if self.fails:
                raise OSError("connection reset")
            super().delete(name)

    blobs = Failing(folder)
    world = await opened(blobs, clock)
    await created(world, "r-1", LARGE)
    await deleted(world, "r-1")
    clock.turn(timedelta(hours=25))
    with pytest.raises(StoreError, match="a blob could not be deleted: connection reset; try again"):
        await world.storage.payloads.collect()
    blobs.fails = False

    assert await world.storage.payloads.collect() == 1
    assert files_in(folder) == []
    await world.close()
