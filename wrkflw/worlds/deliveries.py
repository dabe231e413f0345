"""Delivering messages to a handler in this process: taken when they are due, and settled by what it answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from wrkflw.clock import Clock, Timer, sleep_until
from wrkflw.errors import StoreError
from wrkflw.world.errors import DamagedPayloadError, WorldError
from wrkflw.world.queue import MESSAGE_QUEUED, Defer, Handler, Message, NotDeliveredError

from .sql.mailbox import Failed, Outcome, Returned, Taken

BACKSTOP = timedelta(seconds=5)
"""How often it looks, without being told, for messages whose process has died."""
_CANCELLED_SECONDS = 1.0

_log = logging.getLogger("wrkflw")


class Leases(Protocol):
    """What a consumer needs of the queue."""

    async def take(self, limit: int) -> tuple[Sequence[Taken], datetime | None]: ...
    def opened(self, taken: Taken) -> Message: ...
    async def settle(self, taken: Taken, outcome: Outcome) -> None: ...


class Consumer:
    """Hands messages to ``handler``, ``concurrency`` at a time, from :meth:`start` until :meth:`close`.

    It looks for messages when it is told of one, when the next falls due and when a handler is done; besides, unless
    ``alone`` says that nobody else uses the store, now and then for those of processes that died.  ``drain`` is how
    long handlers may go on when it is closed.
    """

    def __init__(
        self,
        queue: Leases,
        handler: Handler,
        clock: Clock,
        *,
        concurrency: int,
        drain: timedelta,
        alone: Callable[[], bool],
    ) -> None:
        self._queue = queue
        self._handler = handler
        self._clock = clock
        self._concurrency = concurrency
        self._drain = drain
        self._alone = alone
        self._looking = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._work: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._taking: asyncio.Future[tuple[Sequence[Taken], datetime | None]] | None = None
        """What is being taken, or was when that was cut short."""
        self._closing = False

    def start(self) -> None:
        self._work = asyncio.get_running_loop().create_task(self._deliver_all(), name="wrkflw-deliveries")

    def hear(self, run_id: str | None, types: Sequence[str]) -> None:
        """What was committed, here or, without a run, perhaps anything elsewhere."""
        if MESSAGE_QUEUED in types or not run_id:
            self._looking.set()

    async def close(self) -> None:
        """Take no more, wait for the handlers, cancel those that go on too long, and give back what they had."""
        await self._stop_taking()
        if self._running:
            # By the machine's own time: whoever stops the clock must be able to close.
            await asyncio.wait(self._running, timeout=self._drain.total_seconds())
        for task in self._running:
            task.cancel()
        if self._running:
            _, stubborn = await asyncio.wait(self._running, timeout=_CANCELLED_SECONDS)
            for _ in stubborn:
                _log.error("a handler of messages does not end; it is left behind")

    def abandon(self) -> None:
        """Leave as a process leaves that is killed."""
        self._closing = True
        for task in (self._work, *self._running):
            if task is not None:
                task.cancel()
        self._arm(None)

    # --- taking ------------------------------------------------------------------------------------

    async def _deliver_all(self) -> None:
        while True:
            self._looking.clear()
            later = self._clock.now() + BACKSTOP
            try:
                due = await self._take()
                if not self._alone():
                    due = later if due is None else min(due, later)
            except Exception:  # noqa: BLE001  # nobody would begin this again: whatever went wrong may be over then
                _log.exception("messages could not be looked for; trying again in %s", BACKSTOP)
                due = later
            self._arm(due)
            await self._looking.wait()

    async def _take(self) -> datetime | None:
        """Begin to deliver what is due, and say when the next message is; None as well when it can take no more."""
        free = self._concurrency - len(self._running)
        if free <= 0:
            return None
        # Not to be interrupted between the commit and the tasks: what is taken is delivered or given back.
        self._taking = asyncio.ensure_future(self._queue.take(free))
        taken, due = await asyncio.shield(self._taking)
        self._taking = None
        self._begin(taken)
        return due

    def _begin(self, messages: Sequence[Taken]) -> None:
        for taken in messages:
            task = asyncio.get_running_loop().create_task(self._deliver(taken))
            self._running.add(task)
            task.add_done_callback(self._delivered)

    def _arm(self, due: datetime | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if due is None else self._clock.call_at(due, self._looking.set)

    # --- one message -------------------------------------------------------------------------------

    async def _deliver(self, taken: Taken) -> None:
        await self._settle(taken, await self._outcome(taken))

    async def _outcome(self, taken: Taken) -> Outcome:
        if self._closing:
            return Returned(timedelta(0), reached=False)
        try:
            message = self._queue.opened(taken)
        except DamagedPayloadError as error:
            return Failed(str(error))
        except StoreError as error:  # an operator can help: a key is missing, or the codec
            _log.warning("message %s cannot be read: %s", taken.delivery.message_id, error)
            return Returned(BACKSTOP, reached=False)
        except WorldError as error:
            return Failed(str(error))
        try:
            answer: object = await self._handler(message, taken.delivery)
            if isinstance(answer, Defer):
                return Returned(answer.delay)
            if answer is not None:
                raise TypeError(f"a handler returns None or Defer, not {type(answer).__name__}")
        except asyncio.CancelledError:
            this = asyncio.current_task()
            if this is not None and this.cancelling():  # as closing does
                return Returned(timedelta(0))
            return Failed("CancelledError: something that the handler waited for was cancelled")
        except NotDeliveredError as error:
            _log.warning("message %s was not delivered: %s", taken.delivery.message_id, error)
            return Returned(error.retry_after, reached=False)
        except Exception as error:  # noqa: BLE001  # whatever it is, the message comes again
            _log.warning("message %s failed", taken.delivery.message_id, exc_info=error)
            return Failed(f"{type(error).__name__}: {error}")
        return "done"

    async def _settle(self, taken: Taken, outcome: Outcome) -> None:
        while True:
            try:
                return await self._queue.settle(taken, outcome)
            except Exception:  # noqa: BLE001  # a process that lives must not keep a message that it does not handle
                _log.exception("message %s could not be settled", taken.delivery.message_id)
            if self._closing:
                return  # others find it once this process is gone
            await sleep_until(self._clock, self._clock.now() + BACKSTOP)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a message could not be settled: %s", error, exc_info=error)
        self._looking.set()

    # --- closing -----------------------------------------------------------------------------------

    async def _stop_taking(self) -> None:
        self._closing = True
        self._arm(None)
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])
            await self._take_back()

    async def _take_back(self) -> None:
        """What was being taken when that was cut short is given back, as all is that begins while this is closed."""
        if (taking := self._taking) is None:
            return
        await asyncio.wait([taking])
        if not taking.cancelled() and taking.exception() is None:
            self._begin(taking.result()[0])
