"""Mail that is made to hurt: it costs little, is let in nowhere, and is kept."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from wrkflw import Suspended
from wrkflw.mail import Delivery, HostileMailError, MailLimits, Mailroom
from wrkflw.mail.parsing import parse
from wrkflw.triggers import Email

from .desk import OUR_SERVER, ask, asking, letter, mailroom, triage, yes_or_no

READ_ONLY, DELIVERED = (40_000, 8_000) if os.environ.get("SOAK") else (2_000, 300)
FROM = b"From: ada@example.org\r\nTo: invoices@acme.test\r\n"
TO = ("invoices@acme.test",)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="wrkflw")


# --- bombs -------------------------------------------------------------------------------------------


def nested(levels: int) -> bytes:
    opening = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(levels))
    return FROM + opening + b"\r\nHi"


def mails_in_mails(levels: int) -> bytes:
    return FROM + b"Content-Type: message/rfc822\r\n\r\n" * levels + b"Hi"


def many_parts(count: int) -> bytes:
    return FROM + b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n' + b"--x\r\n\r\na\r\n" * count + b"--x--"


REFUSED: dict[str, tuple[bytes, str]] = {
    "100,000 addresses": (FROM + b"Cc: " + b"a@b.test, " * 5_000 + b"\r\n\r\n", "more than 500 addresses"),
    "megabytes of addresses": (
        FROM + b"Cc: " + b"a@b.test, " * 100_000 + b"\r\n\r\n",
        "more than 65,536 bytes of head",
    ),
    "encoded words": (FROM + b"Subject: " + b"=?utf-8?q?a?= " * 4_000 + b"\r\n\r\n", "more than 64 pieces of encoded"),
    "20,000 parts": (many_parts(20_000), "more than 100 parts"),
    "1,000 levels": (nested(1_000), "more than 20 levels"),
    "headers without an end": (FROM + b"X: a\r\n" * 1_000_000, "more than 65,536 bytes of headers"),
    "1,000 headers": (FROM + b"X: a\r\n" * 1_000 + b"\r\n", "more than 500 lines of headers"),
    "CR": (FROM + b"Subject: a\rb\r\n\r\n", "hold a CR without LF"),
    "no header": (FROM + b"Subject\r\nFrom: eve@evil.test\r\n\r\n", "a line among its headers is none"),
    "parameters": (FROM + b"Content-Type: text/plain; " + b"a=b; " * 12_000 + b"\r\n\r\n", "more than 100 parameters"),
    "semicolons": (FROM + b'Content-Disposition: a; b="' + b";" * 60_000 + b"\r\n\r\n", "more than 100 parameters"),
    "NUL": (FROM + b"Subject: a\x00b\r\n\r\n", "hold NUL"),
}
READ: dict[str, bytes] = {
    "mails in mails": mails_in_mails(1_000),
    "comments in comments": FROM + b"Cc: " + b"(" * 400 + b"\r\n\r\n",
    "quotes": FROM + b"Cc: " + b'"' * 60_000 + b"\r\n\r\n",
    "angles": FROM + b"Cc: " + b"<" * 60_000 + b"\r\n\r\n",
    "routes": FROM + b"Cc: " + b"<@" * 400 + b"\r\n\r\n",
    "spaces": FROM + b"Subject: a" + b" " * 60_000 + b"b\r\n\r\n",
    "half an encoded word": FROM + b"Subject: " + b"=?a?q?" + b"=" * 60_000 + b"\r\n\r\n",
    "references": FROM + b"References: " + b"<a@b> " * 10_000 + b"\r\n\r\n",
    "one long line": FROM + b"\r\n" + b"a" * 20_000_000,
    "lines": FROM + b"\r\n" + b"\r\n" * 5_000_000,
    "quoted lines": FROM + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=\r\n" * 1_000_000,
    "boundaries that are none": FROM + b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n' + b"\r\n--y" * 500_000,
    "bodies by levels": nested(19) + b"\r\n" * 1_000_000,
    "punycode": FROM + b"Content-Type: text/plain; charset=punycode\r\n\r\n" + b"a-b" * 300_000,
    "idna": FROM + b"Content-Type: text/plain; charset=idna\r\n\r\n" + b"a." * 300_000,
    "date": FROM + b"Date: " + b"1" * 60_000 + b"\r\n\r\n",
}
SECONDS = 1
"""Of the processor.  Unbounded, the smallest of these takes a minute."""


@pytest.mark.parametrize("name", REFUSED)
def test_a_bomb_is_refused_before_it_goes_off(name: str) -> None:
    raw, problem = REFUSED[name]

    begun = time.process_time()
    with pytest.raises(HostileMailError, match=problem):
        parse(raw, MailLimits())
    assert time.process_time() - begun < SECONDS


@pytest.mark.parametrize("name", READ)
def test_what_only_looks_large_is_read_in_little_time(name: str) -> None:
    begun = time.process_time()
    mail = parse(READ[name], MailLimits())

    assert mail.from_ == "ada@example.org"
    assert time.process_time() - begun < SECONDS


RESULTS: dict[str, bytes] = {
    "nothing": b"",
    "comments in comments": b"(" * 30_000 + b")" * 30_000,
    "comments without an end": b"(" * 60_000,
    "quotes without an end": b'"' + b'\\"' * 30_000,
    "backslashes": b"\\" * 60_000,
    "results": b"dmarc=pass;" * 5_000,
}


@pytest.mark.parametrize("server", ["mx.acme.test", "mx.evil.test"])
@pytest.mark.parametrize("name", RESULTS)
async def test_what_is_said_of_the_sender_is_read_in_little_time(name: str, server: str) -> None:
    raw = b"Authentication-Results: %b; %b\r\n" % (server.encode(), RESULTS[name]) + FROM + b"\r\n"
    mail = parse(raw, MailLimits())

    begun = time.process_time()
    found = await OUR_SERVER.authenticate(raw, mail)

    assert found.domain is None
    assert time.process_time() - begun < SECONDS


# --- mutations ---------------------------------------------------------------------------------------

BITS = (
    b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"\x00", b"\xff", b"\xed\xa0\x80", b"=?utf-8?q?", b"?=", b"=?x?b?", b'"', b"<",
    b">", b"(", b")", b",", b";", b"@", b"=", b"--", b"boundary=", b"charset=", b"filename*0*=",
    b"From: eve@evil.test\r\n", b"Content-Type: multipart/mixed\r\n", b"Content-Transfer-Encoding: base64\r\n",
    b"Authentication-Results: mx.evil.test; dmarc=pass header.from=example.org\r\n", b"In-Reply-To: ", b":", b" ",
    b"Message-ID: <>\r\n", b".\r\n",
)  # fmt: skip


def mutated(raw: bytes, chance: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at, upto = sorted((chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)))
        upto = min(upto, at + chance.choice((0, 1, 8, 64)))
        match chance.randrange(5):
            case 0:
                data[at:at] = chance.choice(BITS)
            case 1:
                del data[at:upto]
            case 2:
                data[at:at] = data[at:upto] * chance.choice((1, 2, 50))
            case 3 if at < len(data):
                data[at] = chance.randrange(256)
            case _:
                data[at:upto] = chance.choice(BITS) * chance.choice((1, 3))
    return bytes(data)


def corpus(question: str) -> list[bytes]:
    plain, rich, answer = letter(), letter(Subject="Größe"), letter(In_Reply_To=question)
    rich.add_alternative("<p>Yes</p>\n", subtype="html")
    rich.add_attachment(b"%PDF\x00", maintype="application", subtype="pdf", filename="Rechnung ä.pdf")
    inner = letter()
    inner.add_attachment(rich)
    return [mail.as_bytes().replace(b"\n", b"\r\n") for mail in (plain, rich, answer, inner)]


def is_kept(delivery: Delivery) -> bool:
    return bool(delivery.started or delivery.repeated or delivery.held)


async def test_mutated_mail_is_taken_or_held_and_never_answers_anything() -> None:
    """Of each: a run of its own, or a place in the quarantine; the run that waits for a proven answer hears nothing."""
    taking, waiting = triage(), asking()
    taking.on_email("invoices@*")
    waiting.on_reply("approvals@*", ask, answer=yes_or_no, senders=["*@example.org"])
    async with mailroom(taking, waiting, trust=OUR_SERVER) as room:
        run = await waiting.create_run()
        parked = await run.start("may I?")
        assert isinstance(parked, Suspended)
        mails, chance = corpus(str(parked.suspensions[0].payload)), random.Random(7)

        for number in range(DELIVERED):
            raw = mutated(mails[number % len(mails)], chance)
            delivery = await room.deliver(raw, envelope_to=("invoices@acme.test", "approvals@acme.test"))
            assert is_kept(delivery), f"mutation {number} of seed 7 is lost: {raw!r}"
            assert delivery.answered is None, f"mutation {number} of seed 7 answers a run: {raw!r}"

        assert isinstance(await run.result(), Suspended)
        assert await held_as_they_came(room) > 0


def test_mutated_mail_is_read_or_refused() -> None:
    mails, chance = corpus("<a@b>"), random.Random(11)
    verdicts = {"read": 0, "refused": 0}
    for number in range(READ_ONLY):
        raw = mutated(mails[number % len(mails)], chance)
        try:
            mail = parse(raw, MailLimits())
        except HostileMailError:
            verdicts["refused"] += 1
        else:
            verdicts["read"] += 1
            assert mail == Email.model_validate_json(mail.model_dump_json()), f"mutation {number} of seed 11: {raw!r}"
            assert not any(ord(letter) < 32 for letter in mail.subject + mail.from_name), (
                f"mutation {number} of seed 11"
            )

    assert min(verdicts.values()) > READ_ONLY / 20


async def held_as_they_came(room: Mailroom) -> int:
    page = await room.quarantine.list(limit=50)
    for mail_id in page.data:
        assert (await room.quarantine.get(mail_id)).raw
    return len(page.data)


@pytest.mark.parametrize("change", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: bytes(1000)])
def test_a_stump_is_read_or_refused(change: Callable[[bytes], bytes]) -> None:
    with suppress(HostileMailError):
        assert isinstance(parse(change(letter().as_bytes()), MailLimits()), Email)
