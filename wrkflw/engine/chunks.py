"""What the bodies of a run write to its streams, on its way to the store.

A body writes and goes on, from the loop or from its thread.  What gathers until the loop turns goes to the store
together, and a try is not over before all that it wrote is there.  Where bodies are faster than the disk, they are made
to wait: a thread where it writes, and a coroutine where it awaits the next time.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, cast

from wrkflw.errors import InvalidValueError, LimitError
from wrkflw.world.errors import EntityConflictError, FencedError, RunExpiredError
from wrkflw.world.streamer import LONGEST_NAME, NewChunk, Streamer, can_be_called

if TYPE_CHECKING:
    from .calls import StepCall
    from .recorder import Recorder

_MOST_AT_ONCE = 1000
_ROOM = 4 * 1024 * 1024
"""How much of one run may be on its way to the store before its bodies wait."""
_WEIGHT = 256
"""What a chunk takes besides its bytes."""
_LOOP_LIVES = 1.0
"""Seconds after which a thread that waits makes sure that there is still a loop to write for it."""


class NotWrittenError(Exception):
    """The store took no chunks, for which the body can do nothing."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Chunks:
    """The chunks of one run, while this process owns it; made on its loop.

    ``limit`` is the most bytes of a chunk.  ``lock`` guards what threads and the loop share, and ``room`` is where
    threads wait for it; many runs may have one.
    """

    def __init__(
        self, streamer: Streamer, recorder: Recorder, limit: int, lock: threading.Lock, room: threading.Condition
    ) -> None:
        self._streamer = streamer
        self._recorder = recorder
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lock = lock
        self._room = room
        self._weight = 0
        """What is on its way, in bytes."""
        self._waiting: deque[tuple[StepCall, NewChunk]] | None = None
        self._taken = self._settled = 0
        """How many chunks were taken from bodies, and of how many it is known what became of them."""
        self._writes = False
        """Whether what waits is on its way."""
        self._task: asyncio.Task[None] | None = None
        self._waiters: list[tuple[int, asyncio.Future[None]]] | None = None
        self._slowed: list[asyncio.Future[None]] | None = None
        """Coroutines that wait for room."""
        self._broken: BaseException | None = None
        self._ended = False
        """Whether somebody ended the run, whose streams take nothing more."""

    # --- what a body does ----------------------------------------------------------------------------

    def write(self, call: StepCall, chunk: object, stream: str) -> None:
        """Take a chunk.  From any thread, and in the order of each; a thread waits until there is room.

        Raises InvalidValueError, LimitError, RuntimeError when the try is over, and what kept the chunks before it
        from being written.
        """
        if not can_be_called(stream):
            cure = f"use 1 to {LONGEST_NAME} printable characters"
            raise InvalidValueError.because(f"{stream[:80]!r}", "cannot be the name of a stream", cure=cure)
        data = self._bytes_of(call, chunk)
        with self._lock:
            if threading.get_ident() != self._thread:
                self._wait_for_room(call)
            if call.left:
                raise RuntimeError(f"step {call.key!r} wrote a chunk when it was over; await what it starts")
            if call.not_written is not None:
                raise call.not_written
            if self._broken is not None:
                call.written = self._taken  # the try waits for what is not written, so this is not its own failure
                raise self._broken
            if not data or self._ended:
                return
            self._taken += 1
            self._weight += len(data) + _WEIGHT
            call.written = self._taken
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append((call, NewChunk(stream, data, call.key, call.attempt)))
            begin, self._writes = not self._writes, True
        if begin:
            self._loop.call_soon_threadsafe(self._begin)

    def leave(self, call: StepCall) -> bool:
        """The try is over, and writes no more.  Whether it has written."""
        with self._lock:
            call.left = True
            if self._weight:  # else nobody waits for room
                self._room.notify_all()
        return call.written > 0

    @property
    def full(self) -> bool:
        """Whether the bodies are to wait."""
        return self._weight > _ROOM and not self._ended and self._broken is None

    async def room(self) -> None:
        """Wait until the bodies may go on."""
        while self.full:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._slowed = self._slowed or []
            self._slowed.append(waiter)
            await waiter

    def _wait_for_room(self, call: StepCall) -> None:
        while self.full and not call.left:
            if not self._room.wait(_LOOP_LIVES) and self._loop.is_closed():
                raise RuntimeError(f"step {call.key!r} wrote a chunk when the event loop was closed; end its thread")

    async def settled(self, call: StepCall) -> None:
        """Wait until what a call has written is durable; or dropped, because somebody ended the run.

        Raises NotWrittenError when the store failed, EntityConflictError when the stream was closed.
        """
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters = self._waiters or []
        self._waiters.append((call.written, waiter))
        self._tell()
        await waiter
        if call.not_written is not None:
            raise call.not_written

    def _bytes_of(self, call: StepCall, chunk: object) -> bytes:
        what = f"a chunk of step {call.step_id!r}"
        if isinstance(chunk, bytes | bytearray):
            data = bytes(chunk)
        else:
            try:
                data = (chunk if isinstance(chunk, str) else _json(call.step_id, chunk)).encode()
            except InvalidValueError:
                raise
            except (TypeError, ValueError, RecursionError) as error:
                problem = str(error).partition("\n")[0]
                raise InvalidValueError.because(
                    what, f"is nothing JSON has: {problem}", cure="write a list or bytes"
                ) from error
        if len(data) > self._limit:
            cure = "write it in parts or raise Limits.value_bytes"
            text = f"{what} has {len(data):,} bytes, the limit is {self._limit:,}; {cure}"
            raise LimitError(text, limit=self._limit, got=len(data))
        return data

    # --- what the loop does --------------------------------------------------------------------------

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._write_all())
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None if self._task is task else self._task
        if task.cancelled():  # the loop ends
            self._broken = self._broken or asyncio.CancelledError()
            self._make_room(())
        self._tell()

    def _make_room(self, batch: Sequence[tuple[StepCall, NewChunk]]) -> None:
        """These are on their way no more."""
        with self._lock:
            self._weight -= sum(len(chunk.data) + _WEIGHT for _, chunk in batch)
            self._room.notify_all()
        slowed, self._slowed = self._slowed, None
        for waiter in slowed or ():
            if not waiter.done():
                waiter.set_result(None)

    async def _write_all(self) -> None:
        """Write what waits, and what gathers meanwhile."""
        while batch := self._next():
            try:
                await self._write(batch)
            except RunExpiredError:
                self._ended = True
            except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001  # whatever it is, the bodies wait for it
                self._broken = error
                self._make_room(batch)
                return
            self._settled += len(batch)
            self._make_room(batch)
            self._tell()

    def _next(self) -> list[tuple[StepCall, NewChunk]]:
        with self._lock:
            assert self._waiting is not None
            batch = list(islice(self._waiting, _MOST_AT_ONCE))
            for _ in batch:
                self._waiting.popleft()
            self._writes = bool(batch)
            return batch

    async def _write(self, batch: Sequence[tuple[StepCall, NewChunk]]) -> None:
        try:
            await self._streamer.write_many(
                self._recorder.journal.run_id, [chunk for _, chunk in batch], fence=self._recorder.fence
            )
        except FencedError:
            raise
        except EntityConflictError as refusal:  # a stream was closed: that is no matter of who wrote to another
            calls = {id(call): call for call, _ in batch}
            if len(calls) == 1:
                batch[0][0].not_written = refusal
                return
            for call in calls.values():
                await self._write([(writer, chunk) for writer, chunk in batch if writer is call])

    def _tell(self) -> None:
        """Go on with those whose chunks are settled."""
        waiters, self._waiters = self._waiters, None
        left: list[tuple[int, asyncio.Future[None]]] = []
        for upto, waiter in waiters or ():
            if waiter.done():
                continue
            if upto <= self._settled:
                waiter.set_result(None)
            elif isinstance(self._broken, asyncio.CancelledError):
                waiter.cancel()
            elif self._broken is not None:
                waiter.set_exception(NotWrittenError(self._broken))
            else:
                left.append((upto, waiter))
        self._waiters = left or None


def _json(step_id: str, chunk: object) -> str:
    def plain(value: object) -> object:
        if isinstance(value, Mapping):
            return dict(cast("Mapping[object, object]", value))
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
            return list(cast("Sequence[object]", value))
        raise InvalidValueError.chunk(step_id, value)

    return json.dumps(chunk, default=plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
