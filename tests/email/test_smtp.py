"""The mail server, spoken to by a real client over a real socket."""

from __future__ import annotations

import asyncio
import logging
from contextlib import closing, suppress
from pathlib import Path
from sqlite3 import connect

import aiosmtplib
import pytest

from wrkflw.mail import MailLimits, SmtpServer

from .counter import TO, Counter, served
from .desk import letter, mailroom, outputs, triage


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="wrkflw")
    caplog.set_level(logging.CRITICAL, logger="mail.log")


# --- taking mail in ----------------------------------------------------------------------------------


async def test_a_mail_that_is_sent_starts_a_run() -> None:
    async with served() as desk:
        answer = await desk.send(letter().as_bytes())

        assert answer == "2.0.0 taken"
        assert await outputs(desk.room, *await desk.runs()) == ["Hello"]


async def test_what_is_answered_with_250_stands_in_the_file(tmp_path: Path) -> None:
    async with served(f"sqlite:///{tmp_path / 'app.db'}") as desk:
        await desk.send(letter().as_bytes())

        with closing(connect(tmp_path / "app.db")) as connection:
            keys = connection.execute("SELECT idempotency_key FROM runs").fetchall()
        assert keys == [("email:invoices@*:<1@example.org>",)]


async def test_a_mail_that_is_sent_again_is_taken_once_and_answered_alike() -> None:
    async with served() as desk:
        first, again = await desk.send(letter().as_bytes()), await desk.send(letter().as_bytes())

        assert first == again
        assert len(await desk.runs()) == 1


async def test_a_mail_that_is_held_is_answered_as_one_that_is_taken() -> None:
    async with served() as desk:
        answer = await desk.send(letter().as_bytes().replace(b"From: ", b"From: a@b, ", 1))

        assert answer == "2.0.0 taken"
        assert len((await desk.room.quarantine.list()).data) == 1


async def test_of_several_recipients_those_are_taken_that_somebody_has() -> None:
    async with served() as desk:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=desk.port, start_tls=False) as client:
            refused, _ = await client.sendmail("a@b.org", ["nobody@acme.test", TO, "x@acme.test"], letter().as_bytes())

        assert {address: code for address, (code, _) in refused.items()} == {
            "nobody@acme.test": 550,
            "x@acme.test": 550,
        }
        assert len(await desk.runs()) == 1


async def test_several_mails_come_over_one_connection() -> None:
    async with served() as desk:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=desk.port, start_tls=False) as client:
            for number in range(3):
                raw = letter(Message_ID=f"<{number}@example.org>").as_bytes()
                await client.sendmail("a@b.org", [TO], raw)

        assert len(await desk.runs()) == 3


async def test_a_report_of_a_mail_server_has_no_sender() -> None:
    async with served() as desk:
        await desk.send(letter().as_bytes(), sender="")

        assert len(await desk.runs()) == 1


# --- refusing ----------------------------------------------------------------------------------------


async def test_an_address_that_no_workflow_has_is_refused() -> None:
    async with served() as desk:
        assert await desk.refusal(letter().as_bytes(), ["nobody@acme.test"]) == 550
        assert await desk.runs() == []


@pytest.mark.parametrize("announced", [True, False])
async def test_a_mail_that_is_too_large_is_refused(announced: bool) -> None:
    async with served(limits=MailLimits(size=2_000)) as desk:
        raw = letter().as_bytes() + b"a\r\n" * 1_000
        if announced:
            assert await desk.refusal(raw) == 552
        else:
            answers = await speak(desk.port, b"EHLO a\r\n", MAIL, RCPT, b"DATA\r\n", raw + b"\r\n.\r\n")
            assert answers[-1].startswith(b"552")
        assert await desk.runs() == []


async def test_a_line_that_does_not_end_is_not_kept_for_ever() -> None:
    """aiosmtpd drops what is too much only where a line ends."""
    async with served(limits=MailLimits(size=2_000)) as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        writer.write(b"EHLO a\r\n" + MAIL + RCPT + b"DATA\r\n")
        while not (await reader.readline()).startswith(b"354"):
            pass
        writer.write(b"a" * 2_100)

        assert await reader.readline() == b"552 5.3.4 the mail is too large\r\n"
        assert await reader.read() == b""
        writer.close()
        assert await desk.runs() == []


async def test_too_many_recipients_are_sent_by_themselves() -> None:
    async with served(limits=MailLimits(recipients=1)) as desk:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=desk.port, start_tls=False) as client:
            refused, _ = await client.sendmail("a@b.org", [TO, "invoices@b.test"], letter().as_bytes())

        assert {code for code, _ in refused.values()} == {452}


async def test_while_nothing_can_be_recorded_the_sender_is_to_try_again() -> None:
    async with served() as desk:
        await desk.room.rt.world.close()

        assert await desk.refusal(letter().as_bytes()) == 451


async def test_after_a_refusal_the_same_mail_is_taken_when_the_database_is_back(database: str) -> None:
    workflow = triage()
    workflow.on_email("invoices@*")
    async with mailroom(workflow, database=database) as room, SmtpServer(room, port=0) as server:
        desk = Counter(room, server.port)
        await room.rt.world.close()
        assert await desk.refusal(letter().as_bytes()) == 451
        await room.rt.world.start()

        assert await desk.send(letter().as_bytes()) == "2.0.0 taken"
        assert len(await desk.runs()) == 1


# --- the wire ----------------------------------------------------------------------------------------

MAIL, RCPT = b"MAIL FROM:<a@b.org>\r\n", b"RCPT TO:<invoices@acme.test>\r\n"


async def speak(port: int, *lines: bytes) -> list[bytes]:
    """What is answered to each, the last line of it; ends where the server does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = [await reader.readline()]
    for line in lines:
        writer.write(line)
        while (answer := await reader.readline())[3:4] == b"-":
            pass
        answers.append(answer)
    writer.close()
    await writer.wait_closed()
    return answers


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n"])
async def test_nothing_but_the_end_of_a_mail_ends_it(end: bytes) -> None:
    """Else a mail could hold another one, which the server before this has never looked at."""
    second = b"MAIL FROM:<root@acme.test>\r\nRCPT TO:<invoices@acme.test>\r\nDATA\r\nFrom: root@acme.test\r\n\r\nHi"
    async with served() as desk:
        raw = letter().as_bytes().replace(b"\n", b"\r\n") + end + second + b"\r\n.\r\n"
        answers = await speak(desk.port, b"EHLO a\r\n", MAIL, RCPT, b"DATA\r\n", raw, b"QUIT\r\n")

        assert [answer[:3] for answer in answers] == [b"220", b"250", b"250", b"250", b"354", b"250", b"221"]
        assert len(await desk.runs()) == 1


async def test_a_connection_that_breaks_in_the_middle_of_a_mail_leaves_nothing() -> None:
    async with served() as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        writer.write(b"EHLO a\r\n" + MAIL + RCPT + b"DATA\r\n" + letter().as_bytes())
        while not (await reader.readline()).startswith(b"354"):
            pass
        writer.close()
        await writer.wait_closed()
        await desk.send(letter(Message_ID="<2@example.org>").as_bytes())

        assert len(await desk.runs()) == 1


async def test_more_connections_than_are_taken_are_told_to_come_back() -> None:
    async with served(connections=1) as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        await reader.readline()
        other, closing_ = await asyncio.open_connection("127.0.0.1", desk.port)

        assert (await other.readline()).startswith(b"421")
        for one in (writer, closing_):
            one.close()
            await one.wait_closed()


async def test_a_server_listens_once() -> None:
    workflow = triage()
    workflow.on_email("invoices@*")
    async with mailroom(workflow) as room, SmtpServer(room, port=0) as server:
        with pytest.raises(RuntimeError, match="is listening already; make another one"):
            await server.__aenter__()


async def test_addresses_are_read_as_the_grammar_has_them() -> None:
    """Most of them are read another way, which is faster."""
    async with served() as desk:
        begin = [b"EHLO a\r\n", b"MAIL FROM:<> BODY=8BITMIME SIZE=5\r\n"]
        known = [
            b"<invoices@acme.test>",
            b"<invoices+a_b@acme.test>",
            b"<@x.test:invoices@acme.test>",
            b" <invoices@a>",
        ]
        other = [
            b"<invoices@>",
            b"<invoices@a>x",
            b'<"invoices"@acme test>',
            b"<a@b@acme.test>",
        ]
        answers = await speak(desk.port, *begin, *(b"RCPT TO:" + one + b"\r\n" for one in known + other))

        assert [answer[:1] for answer in answers[3:]] == [b"2"] * len(known) + [b"5"] * len(other)


async def test_a_connection_ends_whatever_comes_over_it() -> None:
    async with served(connections=1, session="200ms") as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        with suppress(ConnectionError):
            while await reader.read(1000):
                writer.write(b"NOOP\r\n")
        writer.close()

        assert await desk.send(letter().as_bytes()) == "2.0.0 taken"


async def test_a_mail_that_comes_too_slowly_is_given_up() -> None:
    async with served(idle="200ms") as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        writer.write(b"EHLO a\r\n" + MAIL + RCPT + b"DATA\r\n")
        while not (await reader.readline()).startswith(b"354"):
            pass
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"X-A: b\r\n")
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), 0.01)
        writer.close()

        assert await desk.runs() == []


async def test_commands_that_come_in_one_go_are_answered_each() -> None:
    async with served() as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        mail = letter().as_bytes().replace(b"\n", b"\r\n") + b".\r\n"
        again = mail.replace(b"<1@", b"<2@")
        writer.write(
            b"EHLO a\r\n" + (MAIL + RCPT + b"DATA\r\n" + mail) + (MAIL + RCPT + b"DATA\r\n" + again) + b"QUIT\r\n"
        )
        answers = (await reader.read()).splitlines()
        writer.close()

        assert answers.count(b"250 2.0.0 taken") == 2
        assert len(await desk.runs()) == 2


async def test_a_command_of_other_letters_is_refused_and_the_next_is_not() -> None:
    async with served() as desk:
        odd = [b"RCPT TO:<\x00@acme.test>\r\n", b"RCPT TO:<invoices@\xff>\r\n", b"\xff\r\n", b"R\x00CPT\r\n"]
        answers = await speak(desk.port, b"EHLO a\r\n", MAIL, *odd, RCPT)

        assert {answer[:1] for answer in answers[3:-1]} == {b"5"}
        assert answers[-1].startswith(b"250")


async def test_a_server_that_ends_lets_nobody_wait() -> None:
    async with served() as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        await reader.readline()
    assert await reader.read() == b""
    writer.close()
