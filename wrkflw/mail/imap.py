"""Mail from a mailbox: each mail is taken in once, and marked as seen when what it led to is durable."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Literal, Self, TypeVar

from wrkflw.clock import sleep_until
from wrkflw.durations import parse_duration
from wrkflw.errors import StoreError
from wrkflw.loopback import is_loopback
from wrkflw.world.cursors import Cursors
from wrkflw.world.errors import StoreRefusedError

from .errors import MailTooLargeError, NoRecipientError
from .mailboxes import Account, Kept, Mailbox, MailboxError, Position
from .mailroom import Mailroom

T = TypeVar("T")

_AGAIN = timedelta(seconds=30)
"""When it tries again what the mailbox or the database has refused."""
_SESSION = timedelta(minutes=20)
"""After which it logs in anew: connections die without a word, and servers end those of 29 minutes."""

_log = logging.getLogger("wrkflw")


class ImapMailbox:
    """Reads a mailbox and hands its mail to a :class:`Mailroom`, within ``async with``.

    It takes in what comes, and what is unseen when it reads the mailbox for the first time.  How far it was read is
    kept in the database, so a mail that a person has opened meanwhile is not left out.  When the server numbers its
    mails anew, it takes in what is unseen, and what has arrived since it read them for the first time; what was taken
    in before is known.  Of several processes one reads; another one goes on when that is gone.  Mail that no workflow
    takes stays as it is.

    Args:
        room: takes the mail in.
        host: the mail server.
        user: the account, which the next two are of as well.
        password: or the one for applications that your provider has made.
        folder: of the account.
        port: of the server; 993 unless it is given, and 143 without ``tls``.
        tls: False for a connection in the clear, to this machine only; else the certificates that are trusted.
        recipients: to whom the mail came; without them that is what the server has noted in ``Delivered-To``, else what
            the mail says.
        poll: how often to look, beside what the server tells by itself.

    Raises:
        ValueError: the connection would be in the clear, to another machine.
    """

    def __init__(
        self,
        room: Mailroom,
        host: str,
        user: str,
        password: str,
        *,
        folder: str = "INBOX",
        port: int | None = None,
        tls: ssl.SSLContext | Literal[False] | None = None,
        recipients: Sequence[str] | None = None,
        poll: timedelta | str = "1m",
    ) -> None:
        if tls is False and not is_loopback(host):
            raise ValueError(f"the password would be sent to {host!r} in the clear; leave out tls=False")
        context = None if tls is False else tls or ssl.create_default_context()
        number = port or (143 if tls is False else 993)
        self._account = Account(host, user, password, folder, number, context)
        self._room = room
        self._recipients = recipients
        self._poll = parse_duration(poll)
        self._source = f"imap:{self._account}"
        self._task: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._mailbox = Mailbox(self._account)
        self._held = False
        """Whether this process reads it, as far as it knows."""
        self._position: Position | None = None

    async def __aenter__(self) -> Self:
        """Begin.  Raises StoreRefusedError when this World keeps no cursors."""
        if not self._room.rt.world.capabilities.cursors:
            raise StoreRefusedError("this World does not keep how far a mailbox was read; take one that does")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="wrkflw-imap")
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *exc: object) -> None:
        """End.  A mail that is being taken in is taken in again by who reads next, and leads to nothing twice."""
        if self._task is None or self._thread is None:
            return
        self._task.cancel()
        self._mailbox.interrupt()
        await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown()

    async def _work(self) -> None:
        try:
            while True:
                await self._sleep(await self._attempt())
        finally:
            held, self._held = self._held, False
            await self._call(self._mailbox.close)
            if held and self._room.rt.is_open:
                with suppress(StoreError):  # then it is free when this process is gone
                    await self._cursors.release(self._source)

    async def _attempt(self) -> timedelta:
        """Read the mailbox for as long as nothing is wrong, if no other process does; when to try again."""
        try:
            if not self._held and (found := await self._cursors.take(self._source)) is not None:
                self._held = True
                self._position = None if found.position is None else Position.of(found.position)
            while self._held:
                await self._session()
                await self._call(self._mailbox.close)
        except (MailboxError, StoreError) as error:
            _log.warning("%s; trying again", error)
            return min(_AGAIN, self._poll)
        except Exception:  # nobody would begin this again: what went wrong may be over then  # noqa: BLE001
            _log.exception("mailbox %s could not be read; trying again", self._account)
            return _AGAIN
        return self._poll

    async def _session(self) -> None:
        """One login: take in what is new, and wait for more."""
        clock = self._room.rt.clock
        until = clock.now() + _SESSION
        await self._call(self._mailbox.close)
        validity = await self._call(self._mailbox.open)
        before = self._position
        if before is None or before.validity != validity:  # then every number means another mail
            await self._advance(await self._begin(validity, before))
        elif before.since is None:
            mails = await self._call(partial(self._mailbox.up_to, before.uid))
            await self._advance(before._replace(since=self._latest(mails)))
        while (position := self._position) is not None and clock.now() < until:
            for uid in await self._call(partial(self._mailbox.new_after, position.uid)):
                await self._take_in(uid)
                await self._advance(position._replace(uid=uid))
                if not self._held:
                    return
            if not await self._call(partial(self._mailbox.wait, self._poll.total_seconds())):
                await self._sleep(self._poll)

    async def _advance(self, position: Position) -> None:
        self._held = await self._cursors.advance(self._source, str(position))
        self._position = position

    async def _begin(self, validity: int, before: Position | None) -> Position:
        """Take in what nobody has seen, and where it was read ``before``, what has arrived since; how far that is.

        It is recorded as a whole: a crash begins it again.
        """
        last = await self._call(self._mailbox.last)  # first, so that what comes meanwhile is behind it
        mails = await self._call(partial(self._mailbox.up_to, last))
        left = [mail for mail in mails if mail.seen]
        since = self._latest(left) if before is None else before.since or 0  # of doubtful ones none is left out
        for mail in mails:
            if not mail.seen or (before is not None and mail.arrived > since):
                await self._take_in(mail.uid)
        return Position(validity, last, since)

    def _latest(self, mails: Iterable[Kept]) -> int:
        """When the last of them arrived.  Not by this clock: what comes later is to be later by that of the server."""
        latest = max((mail.arrived for mail in mails), default=0)
        return min(latest, int(self._room.rt.clock.now().timestamp()))  # some are dated in the future

    async def _take_in(self, uid: int) -> None:
        """Raises StoreError when the mail could not be recorded."""
        size = await self._call(partial(self._mailbox.size, uid))
        if size is None:
            return
        try:
            if size > self._room.limits.size:
                raise MailTooLargeError(size, self._room.limits.size)
            raw = await self._call(partial(self._mailbox.read, uid))
            if raw is None:
                return
            await self._room.deliver(raw, envelope_to=self._recipients)
        except (NoRecipientError, MailTooLargeError) as error:
            _log.warning("mail %s of %s stays in the mailbox: %s", uid, self._account, error)
            return
        await self._call(partial(self._mailbox.mark_seen, uid))

    @property
    def _cursors(self) -> Cursors:
        return self._room.rt.world.storage.cursors

    async def _call(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def _sleep(self, time: timedelta) -> None:
        await sleep_until(self._room.rt.clock, self._room.rt.clock.now() + time)
