"""Mail from a mailbox of a real Dovecot: taken in once, marked when it is durable, by one process at a time."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from wrkflw import Runtime
from wrkflw.mail import ImapMailbox, MailLimits, Mailroom

from . import dovecot
from .desk import letter, mailroom, triage
from .dovecot import PASSWORD, Server

NUMBERS = itertools.count()

needs_dovecot = pytest.mark.skipif(
    dovecot.DOVECOT is None or os.geteuid() != 0,
    reason="IMAP IS NOT TESTED: there is no dovecot here, or no right to start it; apt-get install dovecot-imapd",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dovecot") / "server"


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    """Of a server for all of these tests."""
    with dovecot.serving(folder) as port:
        yield port


@pytest.fixture
def server(port: int, folder: Path) -> Server:
    """A mailbox of the test's own."""
    return Server(port, f"user{next(NUMBERS)}", folder)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="wrkflw")


def mail(number: int, to: str = "invoices@acme.test") -> bytes:
    return letter(to, Message_ID=f"<{number}@example.org>", Subject=f"mail {number}").as_bytes()


def reading(room: Mailroom, server: Server, **options: Any) -> ImapMailbox:
    return ImapMailbox(room, "127.0.0.1", server.user, PASSWORD, port=server.port, tls=False, **options)


@asynccontextmanager
async def opened(database: str = ":memory:", limits: MailLimits | None = None) -> AsyncIterator[Mailroom]:
    workflow = triage()
    workflow.on_email("invoices@*")
    async with mailroom(workflow, database=database, limits=limits) as room:
        yield room


async def taken(rt: Runtime, count: int) -> list[str]:
    """The subjects of so many mails, in order, once their runs have ended."""
    ended, enough = set[str](), asyncio.Event()

    def hear(run_id: str, event_types: object) -> None:
        enough.set()

    unsubscribe = rt.world.subscribe(hear)
    try:
        async with asyncio.timeout(20):
            while len(ended) < count:
                enough.clear()
                ended = {run.run_id for run in (await rt.runs.list(status="completed")).data}
                if len(ended) < count:
                    await enough.wait()
    finally:
        unsubscribe()
    return sorted([str((await rt.runs.snapshot(run_id)).result) for run_id in ended])


async def flagged(server: Server, count: int) -> None:
    """Once so many mails are marked as seen: that comes after the run, and of the server one can only ask."""
    async with asyncio.timeout(20):
        while sum("Seen" in flags for flags in await asyncio.to_thread(server.flags)) < count:
            pass


@needs_dovecot
async def test_mail_in_a_mailbox_starts_runs_and_is_marked_as_seen(server: Server) -> None:
    server.post(mail(1))
    server.post(mail(2))

    async with opened() as room, reading(room, server):
        assert await taken(room.rt, 2) == ["mail 1", "mail 2"]
        await flagged(server, 2)


@needs_dovecot
async def test_the_server_tells_of_new_mail(server: Server) -> None:
    async with opened() as room, reading(room, server, poll="10m"):
        for number in (1, 2, 3):
            await asyncio.to_thread(server.post, mail(number))

            assert (await taken(room.rt, number))[-1] == f"mail {number}"


@needs_dovecot
async def test_what_a_person_had_read_before_is_left_alone_and_what_comes_is_not(server: Server) -> None:
    server.post(mail(1), flags="\\Seen")
    server.post(mail(2))

    async with opened() as room, reading(room, server):
        await taken(room.rt, 1)
        await asyncio.to_thread(server.post, mail(3), flags="\\Seen")

        assert await taken(room.rt, 2) == ["mail 2", "mail 3"]


@needs_dovecot
async def test_a_restart_goes_on_behind_what_was_taken_in(server: Server, database: str) -> None:
    server.post(mail(1))
    async with opened(database) as room, reading(room, server):
        await taken(room.rt, 1)
        await flagged(server, 1)
    server.post(mail(2), flags="\\Seen")
    async with opened(database) as room, reading(room, server):
        assert await taken(room.rt, 2) == ["mail 1", "mail 2"]


@needs_dovecot
async def test_of_two_processes_one_reads_and_the_other_goes_on(server: Server, database: str) -> None:
    async with opened(database) as other:
        async with opened(database) as first, reading(first, server, poll="100ms"):
            server.post(mail(1))
            await taken(first.rt, 1)
            waiting = reading(other, server, poll="100ms")
            await waiting.__aenter__()
        server.post(mail(2))
        assert await taken(other.rt, 2) == ["mail 1", "mail 2"]
        await waiting.__aexit__()
        assert len((await other.rt.runs.list()).data) == 2


@needs_dovecot
async def test_mails_that_get_new_numbers_are_taken_in_once(server: Server, database: str) -> None:
    server.post(mail(1))
    async with opened(database) as room, reading(room, server):
        await taken(room.rt, 1)
        await flagged(server, 1)
    server.renumber()
    server.post(mail(2))
    async with opened(database) as room, reading(room, server):
        assert await taken(room.rt, 2) == ["mail 1", "mail 2"]
        assert len((await room.rt.runs.list()).data) == 2


EARLIER = datetime.now(UTC) - timedelta(hours=1)


async def read_for_the_first_time(server: Server, database: str) -> None:
    """Mails 1 and 2 are in the mailbox, and 1 was seen."""
    server.post(mail(1), flags="\\Seen", at=EARLIER)
    server.post(mail(2))
    async with opened(database) as room, reading(room, server):
        await taken(room.rt, 1)
        await asyncio.to_thread(server.post, mail(3))  # once this is taken in, what was before is recorded
        assert await taken(room.rt, 2) == ["mail 2", "mail 3"]


@needs_dovecot
async def test_of_mails_that_get_new_numbers_those_are_left_alone_that_had_been_read_before_the_first_time(
    server: Server, database: str
) -> None:
    await read_for_the_first_time(server, database)
    server.renumber()
    server.post(mail(4), flags="\\Seen")  # opened by a person, while nobody else was reading
    server.post(mail(5))
    async with opened(database) as room, reading(room, server):
        await taken(room.rt, 4)
        await asyncio.to_thread(server.post, mail(6))

        assert await taken(room.rt, 5) == ["mail 2", "mail 3", "mail 4", "mail 5", "mail 6"]


@needs_dovecot
async def test_mail_that_is_dated_in_the_future_hides_no_other(server: Server, database: str) -> None:
    server.post(mail(0), flags="\\Seen")
    server.redate(datetime.now(UTC) + timedelta(days=1_000))
    await read_for_the_first_time(server, database)
    server.post(mail(4), flags="\\Seen")
    server.redate(datetime.now(UTC) + timedelta(hours=1))
    async with opened(database) as room, reading(room, server):
        assert (await taken(room.rt, 5))[-1] == "mail 4"


@asynccontextmanager
async def with_position(server: Server, position: str) -> AsyncIterator[Mailroom]:
    """Of a version that did not keep since when the mailbox is read."""
    async with opened() as room:
        cursors, source = room.rt.world.storage.cursors, f"imap:{server.user}@127.0.0.1/INBOX"
        await cursors.take(source)
        assert await cursors.advance(source, position)
        await cursors.release(source)
        yield room


@needs_dovecot
async def test_a_position_of_an_older_version_learns_what_had_been_read_before(server: Server) -> None:
    server.post(mail(1), flags="\\Seen", at=EARLIER)
    server.post(mail(2))
    async with with_position(server, f"{server.numbering()}:1") as room:
        async with reading(room, server):
            await taken(room.rt, 1)
            await asyncio.to_thread(server.post, mail(3))
            await taken(room.rt, 2)
        server.renumber()
        server.post(mail(4))
        async with reading(room, server):
            assert await taken(room.rt, 3) == ["mail 2", "mail 3", "mail 4"]


@needs_dovecot
async def test_a_position_of_an_older_version_in_numbers_that_are_gone_leaves_nothing_out(server: Server) -> None:
    server.post(mail(1), flags="\\Seen")
    async with with_position(server, "1:1") as room, reading(room, server):
        assert await taken(room.rt, 1) == ["mail 1"]


@needs_dovecot
async def test_mail_that_no_workflow_takes_and_mail_that_is_too_large_stay_as_they_are(server: Server) -> None:
    server.post(mail(1, "somebody@acme.test"))
    server.post(mail(2) + b"a\r\n" * 2_000)
    server.post(mail(3))

    async with opened(limits=MailLimits(size=2_000)) as room, reading(room, server):
        assert await taken(room.rt, 1) == ["mail 3"]
        await flagged(server, 1)
        assert ["Seen" in flags for flags in await asyncio.to_thread(server.flags)] == [False, False, True]


@needs_dovecot
async def test_hostile_mail_is_held_and_keeps_nothing_else_from_coming_in(server: Server) -> None:
    server.post(mail(1).replace(b"From: ", b"From: a@b, "))
    server.post(mail(2))

    async with opened() as room, reading(room, server, recipients=["invoices@acme.test"]):
        assert await taken(room.rt, 1) == ["mail 2"]
        assert len((await room.quarantine.list()).data) == 1


@needs_dovecot
async def test_while_nothing_can_be_recorded_mail_stays_in_the_mailbox(server: Server, database: str) -> None:
    async with opened(database) as room, reading(room, server, poll="100ms"):
        await room.rt.world.close()
        server.post(mail(1))
        await asyncio.sleep(0.3)
        assert not any("Seen" in flags for flags in await asyncio.to_thread(server.flags))
        await room.rt.world.start()

        await flagged(server, 1)
        assert len((await room.rt.runs.list()).data) == 1


async def test_a_password_is_not_sent_in_the_clear() -> None:
    async with opened() as room:
        with pytest.raises(ValueError, match=r"the password would be sent to 'imap\.acme\.test' in the clear"):
            ImapMailbox(room, "imap.acme.test", "ada", PASSWORD, tls=False)
        assert PASSWORD not in repr(ImapMailbox(room, "imap.acme.test", "ada", PASSWORD)._account)


class Hears(logging.Filter):
    """What is logged."""

    def __init__(self) -> None:
        super().__init__()
        self._told = asyncio.Queue[str]()

    def filter(self, record: logging.LogRecord) -> bool:
        self._told.put_nowait(record.getMessage())
        return True

    async def next(self) -> str:
        return await asyncio.wait_for(self._told.get(), 20)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, quiet: None) -> Iterator[Hears]:
    caplog.set_level(logging.WARNING, logger="wrkflw")
    with caplog.filtering(hears := Hears()):
        yield hears


def reading_nowhere(room: Mailroom, poll: str) -> ImapMailbox:
    """From a server that is not there."""
    return ImapMailbox(room, "127.0.0.1", "ada", PASSWORD, port=1, tls=False, poll=poll)


async def test_a_server_that_is_not_there_is_tried_again(log: Hears) -> None:
    async with opened() as room, reading_nowhere(room, poll="1ms"):
        assert (await log.next()).startswith("mailbox ada@127.0.0.1/INBOX cannot be read: ConnectionRefusedError")
        assert (await log.next()).endswith("; trying again")


async def test_a_mailbox_that_is_entered_again_is_taken_again(database: str, log: Hears) -> None:
    async with opened(database) as room, opened(database) as other:
        mailbox, cursors = reading_nowhere(room, poll="10m"), other.rt.world.storage.cursors
        async with mailbox:
            await log.next()
        async with mailbox:
            await log.next()
            assert await cursors.take("imap:ada@127.0.0.1/INBOX") is None
        assert await cursors.take("imap:ada@127.0.0.1/INBOX") is not None
