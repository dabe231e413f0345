"""Mail as an Email: what is taken out of it, and how what is odd about it is read."""

from __future__ import annotations

import encodings
from datetime import UTC, datetime

import pytest

from wrkflw.mail import HostileMailError, MailLimits
from wrkflw.mail.parsing import parse
from wrkflw.schemas import schema_of
from wrkflw.triggers import Attachment, Email

from .desk import letter


def read(raw: bytes | str, **limits: int) -> Email:
    data = raw.encode() if isinstance(raw, str) else raw
    return parse(data, MailLimits(**limits))


def written(*lines: str, body: str = "Hi") -> Email:
    return read("\r\n".join(("From: ada@example.org", *lines, "", body)))


def test_a_mail_is_read_into_its_parts() -> None:
    mail = letter(
        "Zoë <zoe@Acme.TEST>, jo@acme.test",
        Cc="list@acme.test",
        Subject="Größe",
        Date="Mon, 02 Mar 2026 09:00:00 +0100",
        In_Reply_To="<0@acme.test>",
        References="<a@b> <0@acme.test>",
    )
    mail.add_alternative("<p>Yes</p>\n", subtype="html")
    mail.add_attachment(b"%PDF\x00", maintype="application", subtype="pdf", filename="Rechnung ä.pdf")

    got = read(mail.as_bytes())

    assert (got.from_, got.from_name) == ("ada@example.org", "Ada")
    assert (got.to, got.cc) == (("zoe@acme.test", "jo@acme.test"), ("list@acme.test",))
    assert got.subject == "Größe"
    assert (got.text, got.html) == ("Yes, please.\n", "<p>Yes</p>\n")
    assert got.date == datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert (got.message_id, got.in_reply_to) == ("<1@example.org>", "<0@acme.test>")
    assert got.references == ("<a@b>", "<0@acme.test>")
    assert got.headers["subject"] == ("Größe",)
    pdf = Attachment(filename="Rechnung ä.pdf", content_type="application/pdf", content_id=None, content=b"%PDF\x00")
    assert got.attachments == (pdf,)


def test_a_mail_survives_being_recorded() -> None:
    mail = letter(Subject="Größe\N{PILE OF POO}")
    mail.add_attachment(bytes(range(256)), maintype="application", subtype="octet-stream")
    got = read(mail.as_bytes())
    schema = schema_of(Email)
    data, _ = schema.store(got, "mail")

    assert schema.load(data, "mail") == got


@pytest.mark.parametrize(
    ("subject", "read_as"),
    [
        ("=?utf-8?q?Gr=C3=B6=C3=9Fe?=", "Größe"),
        ("=?iso-8859-1?B?R3L232U=?=", "Größe"),
        ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?a?=\r\n =?utf-8?q?b?= c", "ab c"),
        ("=?utf-8*de?q?a?=", "a"),
        ("=?no-such?q?a=ff?=", "a\N{REPLACEMENT CHARACTER}"),
        ("=?utf-8?b?!!!?=", ""),
        ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
        ("a\r\n\tb", "a\tb".replace("\t", " ")),
        ("=?utf-8?q?a=0D=0ABcc:_eve@evil.test?=", "a Bcc: eve@evil.test"),
        ("=?utf-8?q?a=E2=80=A8b=00c=1B[31m?=", "a b c [31m"),
        ("Größe", "Größe"),
        ("=?utf-7?q?+ADw-script+AD4-?=", "+ADw-script+AD4-"),
        ("=?utf-8?q?=ED=A0=80?=", "\N{REPLACEMENT CHARACTER}" * 3),
    ],
)
def test_encoded_headers_are_read_and_hold_no_control_characters(subject: str, read_as: str) -> None:
    assert written(f"Subject: {subject}").subject == read_as


@pytest.mark.parametrize(
    "date", ["yesterday", "", "Mon, 99 Mar 2026 09:00:00 +0000", "Mon, 02 Mar 99999999 09:00:00 +0000", "1"]
)
def test_a_date_that_is_none_is_none(date: str) -> None:
    assert written(f"Date: {date}").date is None


@pytest.mark.parametrize(
    "from_",
    [
        "",
        "nobody",
        "a@b, c@d",
        "a@b\r\nFrom: c@d",
        '"a@x.org"@b.org',
        "a@b@c.org",
        "a@[127.0.0.1]",
        "a@b.org\x00",
        "=?utf-8?q?ada=40example=2Eorg?=",
        "undisclosed:;",
    ],
)
def test_a_mail_that_is_not_from_one_address_is_hostile(from_: str) -> None:
    with pytest.raises(HostileMailError, match=r"does not say in one 'From'|NUL"):
        read(f"From: {from_}\r\n\r\nHi")


@pytest.mark.parametrize(
    ("filename", "read_as"),
    [
        ('"../../etc/passwd"', "passwd"),
        ('"C:\\\\Windows\\\\system.ini"', "system.ini"),
        ('".bashrc"', "bashrc"),
        ('"=?utf-8?q?a=2Fb=2Epdf?="', "b.pdf"),
        ('"a\\"b"', 'a"b'),
        ('""', None),
        ('"a\x1bb"', "a b"),
        (f'"{"a" * 300}"', "a" * 255),
    ],
)
def test_the_name_of_an_attachment_is_no_path(filename: str, read_as: str | None) -> None:
    got = written(f"Content-Disposition: attachment; filename={filename}")

    assert got.attachments[0].filename == read_as


@pytest.mark.parametrize(
    ("encoding", "body", "text"),
    [
        ("base64", "SGk=", "Hi"),
        ("base64", "SGk", "SGk"),  # cut off
        ("quoted-printable", "H=69=\r\n!", "Hi!"),
        ("x-unknown", "Hi", "Hi"),
        ("7bit", "a\x00b\x1bc", "abc"),
    ],
)
def test_a_body_is_decoded_as_far_as_it_can_be(encoding: str, body: str, text: str) -> None:
    assert written(f"Content-Transfer-Encoding: {encoding}", body=body).text == text


def test_a_name_that_is_no_charset_is_not_kept() -> None:
    """Python keeps what it has looked up, and a stranger may write any number of mails."""
    looked_up: dict[str, object] = vars(encodings)["_cache"]
    kept = len(looked_up)
    for number in range(20):
        assert written(f"Content-Type: text/plain; charset=no-such-{number}").text
        assert written(f"Content-Type: text/plain; charset=utf{'-' * number}8").text

    assert len(looked_up) <= kept + 1


@pytest.mark.parametrize("charset", ["punycode", "idna", "zlib", "hex", "rot13", "unicode_escape", "no-such", "utf-16"])
def test_no_charset_does_more_than_name_letters(charset: str) -> None:
    assert isinstance(written(f"Content-Type: text/plain; charset={charset}").text, str)


def test_a_mail_inside_of_a_mail_is_an_attachment() -> None:
    got = written("Content-Type: message/rfc822", body="From: eve@evil.test\r\n\r\nHi")

    assert [one.content_type for one in got.attachments] == ["message/rfc822"]
    assert got.from_ == "ada@example.org"


def test_a_boundary_that_never_comes_leaves_nothing_out() -> None:
    got = written('Content-Type: multipart/mixed; boundary="x"', body="nothing here")

    assert (got.text, got.attachments) == ("", ())


def test_a_last_boundary_that_is_missing_ends_with_the_mail() -> None:
    got = written('Content-Type: multipart/mixed; boundary="x"', body="--x\r\n\r\nfirst\r\n--x\r\n\r\nsecond")

    assert got.text == "first\nsecond"
