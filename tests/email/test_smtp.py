"""The mail server, spoken to by a real client over a real socket."""

from __future__ import annotations

import asyncio
import datetime
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from sqlite3 import connect
from typing import Any

import aiosmtplib
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from wrkflw.mail import MailLimits, Mailroom, SmtpServer
from wrkflw.mail.smtp import ExposedSmtpError

from .desk import letter, mailroom, outputs, triage

TO = "invoices@acme.test"


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="wrkflw")
    caplog.set_level(logging.CRITICAL, logger="mail.log")


@asynccontextmanager
async def served(database: str = ":memory:", limits: MailLimits | None = None, **options: Any) -> AsyncIterator[Desk]:
    workflow = triage()
    workflow.on_email("invoices@*")
    async with (
        mailroom(workflow, database=database, limits=limits) as room,
        SmtpServer(room, port=0, **options) as server,
    ):
        yield Desk(room, server.port)


class Desk:
    def __init__(self, room: Mailroom, port: int) -> None:
        self.room = room
        self.port = port

    async def send(self, raw: bytes, to: Sequence[str] = (TO,), sender: str = "ada@example.org") -> str:
        """The answer to DATA."""
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=self.port, start_tls=False) as client:
            _, answer = await client.sendmail(sender, list(to), raw)
            return answer

    async def refusal(self, raw: bytes, to: Sequence[str] = (TO,)) -> int:
        """The code by which the mail is refused."""
        try:
            answer = await self.send(raw, to)
        except aiosmtplib.SMTPRecipientsRefused as error:
            return error.recipients[0].code
        except aiosmtplib.SMTPResponseException as error:
            return error.code
        raise AssertionError(f"it was taken: {answer}")

    async def runs(self) -> list[str]:
        return [run.run_id for run in (await self.room.rt.runs.list()).data]


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
        desk = Desk(room, server.port)
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


async def test_a_server_that_ends_lets_nobody_wait() -> None:
    async with served() as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        await reader.readline()
    assert await reader.read() == b""
    writer.close()


# --- who may send ------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "mail.acme.test"])
async def test_other_machines_are_let_in_only_by_saying_so(host: str) -> None:
    workflow = triage()
    workflow.on_email("invoices@*")
    async with mailroom(workflow) as room:
        with pytest.raises(ExposedSmtpError, match="can be reached by other machines; pass login= and tls="):
            SmtpServer(room, host=host)
        SmtpServer(room, host=host, exposed=True)


async def test_passwords_are_not_taken_in_the_clear() -> None:
    workflow = triage()
    workflow.on_email("invoices@*")
    async with mailroom(workflow) as room:
        with pytest.raises(ValueError, match="would be sent in the clear; pass tls= as well"):
            SmtpServer(room, login=lambda user, password: True)


async def test_with_a_login_only_those_send_who_have_one(tmp_path: Path) -> None:
    def login(user: str, password: str) -> bool:
        return (user, password) == ("ada", "secret")

    async with served(tls=certificate(tmp_path), login=login) as desk:
        told: list[int] = []
        for password in (None, "wrong", "secret"):
            client = aiosmtplib.SMTP(
                hostname="127.0.0.1", port=desk.port, start_tls=password is not None, validate_certs=False
            )
            async with client:
                try:
                    if password is not None:
                        await client.login("ada", password)
                    await client.sendmail("ada@example.org", [TO], letter().as_bytes())
                except aiosmtplib.SMTPResponseException as refused:
                    told.append(refused.code)

        assert told == [530, 535]
        assert len(await desk.runs()) == 1


async def test_without_tls_nothing_is_taken_where_it_is_required(tmp_path: Path) -> None:
    async with served(tls=certificate(tmp_path), require_tls=True) as desk:
        assert await desk.refusal(letter().as_bytes()) == 530

        async with aiosmtplib.SMTP(
            hostname="127.0.0.1", port=desk.port, start_tls=True, validate_certs=False
        ) as client:
            await client.sendmail("ada@example.org", [TO], letter().as_bytes())
        assert len(await desk.runs()) == 1


def certificate(folder: Path) -> ssl.SSLContext:
    """Of a server that vouches for itself."""
    key, name = new_key(SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .sign(key, SHA256())
    )
    path = folder / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context
