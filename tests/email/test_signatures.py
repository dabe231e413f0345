"""Signatures of mail, checked here: which of them prove a sender, with keys and a DNS of the test's own."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import AsyncIterator

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from wrkflw import Run, Suspended
from wrkflw.mail import Mailroom, MissingExtraError, Trust

from .desk import ask, asking, letter, mailroom, yes_or_no

SIGNED = ("from", "to", "subject", "in-reply-to", "references", "message-id")
KEY = generate_private_key(65537, 2048)


def lookup(name: str) -> bytes | None:
    """Everybody in this DNS has the same key; nobody else is there."""
    if name not in ("mail._domainkey.example.org.", "mail._domainkey.evil.test.", "mail._domainkey.org."):
        return None
    public = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)


def signed(
    raw: bytes,
    domain: str = "example.org",
    headers: tuple[str, ...] = SIGNED,
    *,
    length: bool = False,
    canonicalize: tuple[bytes, bytes] = (b"relaxed", b"simple"),
    key: RSAPrivateKey = KEY,
) -> bytes:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    raw = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    names = [name.encode() for name in headers]
    signature: bytes = dkim.sign(
        raw, b"mail", domain.encode(), pem, include_headers=names, length=length, canonicalize=canonicalize
    )
    return signature + raw


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="wrkflw")


@pytest.fixture
async def room() -> AsyncIterator[Mailroom]:
    workflow = asking()
    workflow.on_reply("approvals@*", ask, answer=yes_or_no, senders=["*@example.org", "*@mail.example.org"])
    async with mailroom(workflow, trust=Trust(dkim=True, lookup=lookup)) as room:
        yield room


async def asked(room: Mailroom) -> tuple[Run[str, str], str]:
    run = await room.rt.definitions["asking"].workflow.create_run()  # type: ignore[attr-defined]  # it is the Workflow
    parked = await run.start("may I?")
    assert isinstance(parked, Suspended)
    return run, str(parked.suspensions[0].payload)


TO = ("approvals@acme.test",)


async def test_a_mail_that_its_domain_has_signed_is_believed(room: Mailroom) -> None:
    run, question = await asked(room)

    delivery = await room.deliver(signed(letter(TO[0], In_Reply_To=question).as_bytes()), envelope_to=TO)

    assert (delivery.answered, delivery.reason) == (run.run_id, None)


async def test_a_domain_may_speak_for_those_below_it(room: Mailroom) -> None:
    run, question = await asked(room)
    raw = letter(TO[0], In_Reply_To=question).as_bytes().replace(b"ada@example.org", b"ada@mail.example.org")

    delivery = await room.deliver(signed(raw), envelope_to=TO)

    assert (delivery.answered, delivery.reason) == (run.run_id, None)


@pytest.mark.parametrize("body", [b"simple", b"relaxed"])
async def test_a_mail_with_many_blanks_is_believed_as_well(room: Mailroom, body: bytes) -> None:
    run, question = await asked(room)
    raw = letter(TO[0], In_Reply_To=question).as_bytes() + b" \t a  b\t \r\n \t\r\n c \r\n \r\n\r\n"

    delivery = await room.deliver(signed(raw, canonicalize=(b"relaxed", body)), envelope_to=TO)

    assert (delivery.answered, delivery.reason) == (run.run_id, None)


@pytest.mark.parametrize(
    ("signature", "body", "problem"),
    [
        (b"AAAA", b" " * 200_000 + b"a", "body hash mismatch"),
        (b"A" + b" " * 60_000 + b"!", b"", "bytes, and 4,096 are read"),
    ],
)
async def test_a_signature_that_is_none_is_found_out_in_little_time(
    room: Mailroom, signature: bytes, body: bytes, problem: str
) -> None:
    _, question = await asked(room)
    tags = b"v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=mail; h=from:subject; bh=AAAA; b=" + signature
    mail = letter(TO[0], In_Reply_To=question).as_bytes().replace(b"\n", b"\r\n")
    raw = b"DKIM-Signature: " + tags + b"\r\n" + mail + body

    begun = time.process_time()
    delivery = await room.deliver(raw, envelope_to=TO)

    assert problem in str(delivery.reason)
    assert time.process_time() - begun < 1


async def test_nothing_in_a_signed_mail_can_be_changed(room: Mailroom) -> None:
    run, question = await asked(room)
    raw = signed(letter(TO[0], In_Reply_To=question).as_bytes())

    for old, new in (
        (b"Yes", b"No "),
        (b"Subject: Hello", b"Subject: Hullo"),
        (b"ada@example.org", b"bob@example.org"),
    ):
        delivery = await room.deliver(raw.replace(old, new), envelope_to=TO)
        assert "no signature of it holds" in str(delivery.reason)
    assert isinstance(await run.result(), Suspended)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"domain": "evil.test"}, "it is signed by 'evil.test', which is not the sender's domain"),
        ({"domain": "org"}, "it is signed by 'org', which is not the sender's domain"),
        ({"domain": "nowhere.test"}, "no signature of it holds"),
        ({"headers": ("from", "in-reply-to")}, "does not cover 'From' and 'Subject'"),
        ({"headers": ("from", "to", "subject")}, "does not cover 'in-reply-to'"),
        ({"headers": ("from", "to", "subject", "references")}, "does not cover 'in-reply-to'"),
        ({"length": True}, "leaves out the end of the body"),
        ({"key": generate_private_key(65537, 2048)}, "no signature of it holds"),
    ],
)
async def test_a_signature_that_proves_too_little_proves_nothing(
    room: Mailroom, options: dict[str, object], problem: str
) -> None:
    run, question = await asked(room)

    raw = signed(letter(TO[0], In_Reply_To=question).as_bytes(), **options)  # type: ignore[arg-type]  # of the table
    delivery = await room.deliver(raw, envelope_to=TO)

    assert delivery.answered is None
    assert problem in str(delivery.reason)
    assert isinstance(await run.result(), Suspended)


async def test_a_signed_answer_cannot_be_sent_again_as_the_answer_to_something_else(room: Mailroom) -> None:
    first, question = await asked(room)
    second, _ = await asked(room)
    raw = signed(letter(TO[0], In_Reply_To=question).as_bytes())

    replayed = await room.deliver(raw, envelope_to=[f"approvals+{second.run_id}@acme.test"])

    assert replayed.answered is None
    assert replayed.reason == "it was signed for other recipients than those that it was sent to"
    assert isinstance(await first.result(), Suspended)
    assert isinstance(await second.result(), Suspended)


async def test_another_question_cannot_be_written_above_a_signed_answer(room: Mailroom) -> None:
    """The answer that was signed names its own in another header, and that is covered; or there is none as yet."""
    run, question = await asked(room)
    _, others = await asked(room)
    with_references = signed(letter(TO[0], References=others).as_bytes(), headers=("from", "subject", "references"))
    with_nothing = signed(letter(TO[0], Message_ID="<2@x>").as_bytes())
    forged = b"In-Reply-To: " + question.encode() + b"\r\n"

    for raw in (forged + with_references, forged + with_nothing, b"X-A: b\r" + forged + with_nothing):
        assert (await room.deliver(raw, envelope_to=TO)).answered is None
    assert isinstance(await run.result(), Suspended)


async def test_a_signed_answer_to_an_address_is_none_to_those_that_are_added(room: Mailroom) -> None:
    signed_for, other = (await asked(room))[0], (await asked(room))[0]
    [mine, theirs] = [f"approvals+{run.run_id}@acme.test" for run in (signed_for, other)]
    raw = signed(letter(mine).as_bytes(), headers=("from", "to", "subject"))

    by_envelope = await room.deliver(raw, envelope_to=[theirs, mine])
    by_header = await room.deliver(b"Cc: " + theirs.encode() + b"\r\n" + raw, envelope_to=[theirs])

    assert by_envelope.reason == "it was signed for other recipients than those that it was sent to"
    assert by_header.reason == "the signature of 'example.org' does not cover 'cc'"
    assert isinstance(await other.result(), Suspended)
    assert (await room.deliver(raw, envelope_to=[mine])).answered == signed_for.run_id


async def test_signatures_are_not_checked_without_what_checks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wrkflw.mail.trust.find_spec", {}.get)

    with pytest.raises(MissingExtraError, match=r"'dkimpy' is not installed; pip install \"wrkflw\[email\]\""):
        Trust(dkim=True)


async def test_a_later_signature_counts_as_well(room: Mailroom) -> None:
    run, question = await asked(room)
    by_a_list = signed(signed(letter(TO[0], In_Reply_To=question).as_bytes()), "evil.test")

    delivery = await room.deliver(by_a_list, envelope_to=TO)

    assert (delivery.answered, delivery.reason) == (run.run_id, None)


async def test_a_signature_that_is_none_is_no_proof_and_no_trouble(room: Mailroom) -> None:
    await asked(room)
    for value in (b"v=1", b"v=1; a=rsa-sha256; d=example.org; s=mail; h=from; bh==; b==", b"\xff\xfe;;=="):
        raw = b"DKIM-Signature: " + value + b"\r\n" + letter(TO[0], Message_ID=f"<{len(value)}@x>").as_bytes()
        assert (await room.deliver(raw, envelope_to=TO)).answered is None
