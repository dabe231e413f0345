"""Codecs: nothing that runs take, give or record stands in the file as it is, and nothing can change places."""

from __future__ import annotations

import re
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.clocks import ManualClock
from tests.world.looks import connection_of
from wrkflw.codecs import AesGcm
from wrkflw.errors import StoreError
from wrkflw.world import events as e
from wrkflw.world.errors import DamagedPayloadError, StoreRefusedError
from wrkflw.world.payloads import Place
from wrkflw.world.storage import Claim, RunFence
from wrkflw.world.streamer import NewChunk
from wrkflw.worlds.sqlite import SqliteWorld

OLD, NEW = b"o" * 32, b"n" * 32
HERE = Place("default", "r-1", 4, "step_completed")
CANARY = b"canary-in-the-mine"
LARGE = CANARY * 1_000


def codec(plaintext: Literal["refuse", "read"] = "refuse") -> AesGcm:
    return AesGcm(keys={"2026-01": OLD}, current="2026-01", plaintext=plaintext)


# --- AES-GCM -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\x00", b"hello", bytes(range(256)) * 1_000])
@pytest.mark.parametrize("place", [HERE, Place("default")])
def test_what_is_encoded_is_decoded(data: bytes, place: Place) -> None:
    stored = codec().encode(data, place)

    assert data not in stored or len(data) < 4
    assert codec().decode(stored, place) == data


@pytest.mark.parametrize(
    "elsewhere",
    [
        HERE._replace(namespace="other"),
        HERE._replace(run_id="r-2"),
        HERE._replace(number=5),
        HERE._replace(field="step_failed"),
        Place("default"),
    ],
)
def test_a_payload_is_read_at_its_place_alone(elsewhere: Place) -> None:
    stored = codec().encode(b"hello", HERE)

    with pytest.raises(
        ValueError, match=r"^key '2026-01' did not write it here: it was changed, or belongs elsewhere$"
    ):
        codec().decode(stored, elsewhere)


def test_not_one_bit_can_be_changed() -> None:
    stored = codec().encode(b"hello", HERE)
    for index in range(len(stored)):
        changed = stored[:index] + bytes([stored[index] ^ 1]) + stored[index + 1 :]
        with pytest.raises((ValueError, LookupError)):
            codec().decode(changed, HERE)
    for length in range(len(stored)):
        with pytest.raises((ValueError, LookupError)):
            codec().decode(stored[:length], HERE)


def test_equal_payloads_look_equal_only_where_they_are_kept_once() -> None:
    assert codec().encode(b"hello", HERE) != codec().encode(b"hello", HERE)
    assert codec().encode(b"hello", Place("default")) == codec().encode(b"hello", Place("default"))
    assert codec().encode(b"hello", Place("default")) != codec().encode(b"hello", Place("other"))


def test_the_key_that_is_missing_is_named() -> None:
    stored = AesGcm(keys={"2025-12": NEW}, current="2025-12").encode(b"hello", HERE)

    with pytest.raises(LookupError) as missing:
        codec().decode(stored, HERE)
    assert missing.value.args == ("there is no key '2025-12'; add it to keys=",)


@pytest.mark.parametrize(
    ("keys", "current", "sentence"),
    [
        ({"a": OLD}, "b", "there is no key 'b'; add it to keys="),
        ({"a": OLD, "b": b"short"}, "a", "key 'b' has 5 bytes; AES-256 needs 32"),
        ({"a": "o" * 32}, "a", "key 'a' is a str; AES-256 needs 32 bytes"),
        ({"": OLD}, "", "'' cannot be the id of a key; use 1 to 255 bytes"),
    ],
)
def test_keys_that_cannot_be_are_refused(keys: dict[str, Any], current: str, sentence: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the whole sentence is compared
        AesGcm(keys=keys, current=current)
    assert str(refused.value) == sentence


def test_what_is_to_become_of_plain_text_is_one_of_two() -> None:
    with pytest.raises(ValueError, match=r"^plaintext='keep' is neither 'refuse' nor 'read'; give one of these$"):
        codec("keep")  # type: ignore[arg-type]  # no checker sees what comes from a setting


# --- a World with a codec ------------------------------------------------------------------------------


async def opened(path: Path | str, clock: ManualClock, codec: AesGcm | None, blobs: Path | None = None) -> SqliteWorld:
    url = None if blobs is None else blobs.as_uri()
    world = SqliteWorld(path, clock=clock, codec=codec, blobs=url)
    await world.start()
    return world


async def tell_all(world: SqliteWorld, run_id: str, text: bytes) -> None:
    """Record ``text`` wherever something can be recorded that a person gave."""
    fence, words = RunFence(1), text.decode()
    step = e.StepCreated(correlation_id="step", step_name="s", key="s", input=text)
    creation = e.RunCreated(workflow_name="w", input=text, execution_context={"state": {"who": words}})
    await world.storage.events.create_batch(
        run_id, [creation, step, e.StepStarted(correlation_id="step")], claim=Claim(world.owner)
    )
    for event in (
        e.HookCreated(correlation_id="hook", token="t", metadata=text),
        e.HookReceived(correlation_id="hook", payload_data=text),
        e.SignalReceived(signal_type="paid", payload_data=text),
        e.StepRetrying(correlation_id="step", error=text),
        e.StepCompleted(correlation_id="step", result=text, meta={"state": {"who": words}}),
    ):
        await world.storage.events.create(run_id, event, fence=fence)
    await world.streamer.write_many(run_id, [NewChunk("log", text)], fence=fence)
    await world.storage.events.create(run_id, e.RunFailed(error=text), fence=fence)


@pytest.mark.parametrize("text", [CANARY, LARGE])
async def test_nothing_stands_in_the_files_as_it_is(tmp_path: Path, clock: ManualClock, text: bytes) -> None:
    path, blobs = tmp_path / "app.db", tmp_path / "blobs"
    world = await opened(path, clock, codec(), blobs)
    await tell_all(world, "r-1", text)

    def written() -> bytes:
        return b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and file != path)

    assert len(written()) > len(text)
    assert CANARY not in written()
    log = (await world.storage.events.list("r-1")).data
    await world.close()
    assert CANARY not in written() + path.read_bytes()
    again = await opened(path, clock, codec(), blobs)
    assert (await again.storage.events.list("r-1")).data == log
    assert [payload for one in log if (payload := getattr(one.event, one.event.payload or "subject")) == text] == [
        text
    ] * 8
    assert [chunk.data for chunk in (await again.streamer.get_chunks("r-1", "log")).data] == [text]
    await again.close()


async def test_without_a_codec_the_canary_is_found(tmp_path: Path, clock: ManualClock) -> None:
    """Else the test above would prove nothing."""
    world = await opened(tmp_path / "app.db", clock, None)
    await tell_all(world, "r-1", CANARY)
    await world.close()

    assert (tmp_path / "app.db").read_bytes().count(CANARY) >= 11


async def test_listings_need_no_payload_but_say_what_there_is(tmp_path: Path, clock: ManualClock) -> None:
    world = await opened(tmp_path / "app.db", clock, codec())
    await tell_all(world, "r-1", CANARY)

    log = (await world.storage.events.list("r-1", resolve_data="none")).data

    assert all(getattr(one.event, one.event.payload) is None for one in log if one.event.payload)
    hook = next(one.event for one in log if one.event_type == "hook_created")
    assert isinstance(hook, e.HookCreated)
    assert hook.token == "t"
    await world.close()


async def test_payloads_cannot_change_places(clock: ManualClock) -> None:
    world = await opened(":memory:", clock, codec())
    for run_id, text in (("r-1", b"one"), ("r-2", b"two"), ("r-3", LARGE), ("r-4", LARGE + b"!")):
        await world.storage.events.create(run_id, e.RunCreated(workflow_name="w", input=text))
    execute = connection_of(world).text
    execute("UPDATE events SET payload = (SELECT o.payload FROM events AS o WHERE o.run_no = 1) WHERE run_no = 2")
    execute(
        "UPDATE events SET payload_ref = (SELECT o.payload_ref FROM events AS o WHERE o.run_no = 3) WHERE run_no = 4"
    )

    with pytest.raises(DamagedPayloadError) as swapped:
        await world.storage.runs.get("r-2")
    assert str(swapped.value) == (
        "slot 1 of run 'r-2' cannot be read: key '2026-01' did not write it here: it was changed, or belongs "
        "elsewhere; restore it from a backup"
    )
    with pytest.raises(DamagedPayloadError, match=r"slot 1 of run 'r-4' .* it refers to another payload than"):
        await world.storage.runs.get("r-4")
    assert (await world.storage.runs.get("r-1")).input == b"one"
    await world.close()


async def test_chunks_cannot_change_places(clock: ManualClock) -> None:
    world = await opened(":memory:", clock, codec())
    await world.storage.events.create_batch("r-1", [e.RunCreated(workflow_name="w")], claim=Claim(world.owner))
    await world.streamer.write_many("r-1", [NewChunk("log", b"0"), NewChunk("log", b"1")], fence=RunFence(1))
    connection_of(world).text("UPDATE chunks SET data = (SELECT data FROM chunks WHERE idx = 0)")

    with pytest.raises(DamagedPayloadError, match=r"^chunk 1 of stream 'log' of run 'r-1' cannot be read: key"):
        await world.streamer.get_chunks("r-1", "log")
    await world.close()


async def test_who_has_no_codec_writes_nothing_in_clear_beside_what_is_encoded(
    tmp_path: Path, clock: ManualClock
) -> None:
    """As the command line would, which has none."""
    world = await opened(tmp_path / "app.db", clock, codec())
    await world.storage.events.create("r-1", e.RunCreated(workflow_name="w", input=b"1"))
    await world.close()
    stranger = await opened(tmp_path / "app.db", clock, None)

    for run_id, event in (("r-2", e.RunCreated(workflow_name="w", input=CANARY)), ("r-1", e.RunCancelled())):
        with pytest.raises(StoreRefusedError, match="was written by codec 'aes-256-gcm', and none was given"):
            await stranger.storage.events.create(run_id, event)

    assert (await stranger.storage.runs.list()).data[0].run_id == "r-1"
    assert CANARY not in connection_of(stranger).image()
    await stranger.close()


async def test_a_codec_may_come_later_but_does_not_go_again(tmp_path: Path, clock: ManualClock) -> None:
    for run_id, its in (("r-1", None), ("r-2", None), ("r-3", codec("read")), ("r-4", codec("read"))):
        world = await opened(tmp_path / "app.db", clock, its)
        await world.storage.events.create(run_id, e.RunCreated(workflow_name="w", input=b"1"))
        await world.close()
    world = await opened(tmp_path / "app.db", clock, None)

    with pytest.raises(StoreRefusedError):
        await world.storage.events.create("r-5", e.RunCreated(workflow_name="w", input=b"1"))
    await world.close()


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (
            None,
            "slot 1 of run 'r-1' was written by codec 'aes-256-gcm', and none was given; open the world with that "
            "codec=, or name it for the command line in [tool.wrkflw] of pyproject.toml",
        ),
        (
            AesGcm(keys={"2026-02": NEW}, current="2026-02"),
            "slot 1 of run 'r-1' cannot be decoded: there is no key '2026-01'; add it to keys=",
        ),
        (
            AesGcm(keys={"2026-01": NEW}, current="2026-01"),
            "slot 1 of run 'r-1' cannot be decoded: another key that was called '2026-01' wrote it; give that one",
        ),
    ],
    ids=["no codec", "no key", "wrong key"],
)
async def test_who_lacks_the_key_is_told_so(
    tmp_path: Path, clock: ManualClock, other: AesGcm | None, sentence: str
) -> None:
    world = await opened(tmp_path / "app.db", clock, codec())
    await world.storage.events.create("r-1", e.RunCreated(workflow_name="w", input=b"1"))
    await world.close()
    stranger = await opened(tmp_path / "app.db", clock, other)

    with pytest.raises(StoreError) as refused:
        await stranger.storage.runs.get("r-1")

    assert str(refused.value) == sentence
    await stranger.close()


@pytest.mark.parametrize("text", [CANARY, LARGE])
async def test_plain_text_is_not_taken_for_what_was_encoded(tmp_path: Path, clock: ManualClock, text: bytes) -> None:
    plain = await opened(tmp_path / "app.db", clock, None)
    await tell_all(plain, "r-1", text)
    await plain.close()
    world = await opened(tmp_path / "app.db", clock, codec())
    cure = "if it is older than the codec, let that read it, as AesGcm(..., plaintext='read') does"
    slot, chunk = (
        f"{what} of run 'r-1' was written without a codec, or put there; {cure}"
        for what in ("slot 1", "chunk 0 of stream 'log'")
    )

    with pytest.raises(StoreError, match=f"^{re.escape(slot)}$"):
        await world.storage.runs.get("r-1")
    with pytest.raises(StoreError, match=f"^{re.escape(slot)}$"):
        await world.storage.events.list("r-1", resolve_data="none")
    with pytest.raises(StoreError, match=f"^{re.escape(chunk)}$"):
        await world.streamer.get_chunks("r-1", "log")
    await world.close()


async def test_plain_text_in_place_of_one_value_is_refused(clock: ManualClock) -> None:
    world = await opened(":memory:", clock, codec())
    await tell_all(world, "r-1", CANARY)
    assert len((await world.storage.events.list("r-1")).data) == 9
    connection_of(world).text(
        "UPDATE events SET codec = NULL, data = NULL, payload = 'forged' WHERE event_type = 'signal_received'"
    )

    with pytest.raises(StoreError, match=r"^slot 6 of run 'r-1' was written without a codec, or put there"):
        await world.storage.events.list("r-1")
    await world.close()


async def test_what_was_written_before_there_was_a_codec_is_read_on_demand(tmp_path: Path, clock: ManualClock) -> None:
    plain = await opened(tmp_path / "app.db", clock, None)
    for run_id, data in (("r-1", b"one"), ("r-2", LARGE)):
        await plain.storage.events.create(run_id, e.RunCreated(workflow_name="w", input=data))
    await plain.close()
    world = await opened(tmp_path / "app.db", clock, codec("read"))

    assert (await world.storage.runs.get("r-1")).input == b"one"
    assert (await world.storage.runs.get("r-2")).input == LARGE
    await world.close()


async def test_keys_are_rotated_while_runs_go_on(tmp_path: Path, clock: ManualClock) -> None:
    """Two processes: the one that still writes with the old key has the new one already."""
    keys = {"2026-01": OLD, "2026-02": NEW}
    before = await opened(tmp_path / "app.db", clock, AesGcm(keys=keys, current="2026-01"))
    await before.storage.events.create("r-1", e.RunCreated(workflow_name="w", input=LARGE))
    after = await opened(tmp_path / "app.db", clock, AesGcm(keys=keys, current="2026-02"))
    await after.storage.events.create("r-1", e.SignalReceived(signal_type="paid", payload_data=LARGE))
    await before.storage.events.create("r-1", e.SignalReceived(signal_type="paid", payload_data=b"3"))

    for world in (before, after):
        log = (await world.storage.events.list("r-1")).data
        assert [getattr(one.event, one.event.payload or "") for one in log] == [LARGE, LARGE, b"3"]
    rows = connection_of(after).text("SELECT count(*) FROM payloads")
    assert rows == [(2,)]  # once for each key
    await before.close()
    await after.close()


async def test_large_payloads_are_kept_once_with_a_codec_too(tmp_path: Path, clock: ManualClock) -> None:
    world = await opened(":memory:", clock, codec(), tmp_path / "blobs")
    for run_id in ("r-1", "r-2"):
        await world.storage.events.create(run_id, e.RunCreated(workflow_name="w", input=LARGE))

    assert len(list((tmp_path / "blobs").iterdir())) == 1
    assert (await world.storage.runs.get("r-2")).input == LARGE
    await world.close()


class Zlib:
    """A codec that makes payloads smaller."""

    id = "zlib"
    reads_plain = True

    def encode(self, data: bytes, place: Place, /) -> bytes:
        return zlib.compress(data)

    def decode(self, stored: bytes, place: Place, /) -> bytes:
        return zlib.decompress(stored)


async def test_what_a_codec_makes_small_stands_in_its_event(tmp_path: Path, clock: ManualClock) -> None:
    world = SqliteWorld(tmp_path / "app.db", clock=clock, codec=Zlib())
    await world.start()
    await world.storage.events.create("r-1", e.RunCreated(workflow_name="w", input=LARGE))

    assert (await world.storage.runs.get("r-1")).input == LARGE
    await world.close()
    with closing(sqlite3.connect(tmp_path / "app.db")) as driver:
        assert driver.execute("SELECT count(*) FROM payloads").fetchall() == [(0,)]
        assert driver.execute("SELECT length(payload) < 1000, codec FROM events").fetchall() == [(1, "zlib")]


async def test_a_codec_that_fails_refuses_the_write(clock: ManualClock) -> None:
    class Offline(Zlib):
        def encode(self, data: bytes, place: Place, /) -> bytes:
            raise ConnectionError("the key service does not answer")

    world = SqliteWorld(":memory:", clock=clock, codec=Offline())
    await world.start()

    for data in (b"1", LARGE):
        with pytest.raises(
            StoreError, match="codec 'zlib' could not encode a payload: the key service does not answer"
        ):
            await world.storage.events.create("r-1", e.RunCreated(workflow_name="w", input=data))
    assert (await world.storage.runs.list()).data == []
    await world.close()
