"""Bytes of a mail to an :class:`Email`."""

from __future__ import annotations

import binascii
import quopri
import re
from base64 import b64decode
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import Message
from email.utils import collapse_rfc2231_value, getaddresses, parsedate_to_datetime

from wrkflw.triggers.addresses import normal
from wrkflw.triggers.emails import Attachment, Email

from .errors import HostileMailError
from .limits import MailLimits
from .parts import Part, decoded, head_of, leaves, read, split

SINGLE = ("from", "sender", "reply-to", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references")
"""Headers that a mail has once: of two, readers take one or the other."""
_WORD = re.compile(r"=\?([^?\s]{1,64})\?([bBqQ])\?([^?\s]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)\s+(?==\?[^?\s]{1,64}\?[bBqQ]\?)")
_FOLD = re.compile(r"[\r\n]+(?=[ \t])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ID = re.compile(r"<[^<>\s\x00-\x1f\x7f]{1,250}>")
_ADDRESSES = ("from", "to", "cc")
_NEVER_ENCODED = frozenset(
    {"authentication-results", "dkim-signature", "in-reply-to", "message-id", "received", "references"}
)
"""Where an encoded word is none (RFC 2047): read as one, it would say what no mail server before this has seen."""


def parse(raw: bytes, limits: MailLimits, *, envelope_from: str = "", envelope_to: Sequence[str] = ()) -> Email:
    """The mail, typed.  Raises HostileMailError for one that is beyond the limits, or ambiguous about its sender."""
    try:
        return _parse(raw, limits, envelope_from, envelope_to)
    except HostileMailError:
        raise
    except Exception as error:  # whatever a parser meets in hostile mail
        raise HostileMailError(f"it cannot be read: {type(error).__name__}: {str(error)[:200]}") from error


def _parse(raw: bytes, limits: MailLimits, envelope_from: str, envelope_to: Sequence[str]) -> Email:
    top, body = split(raw, limits)
    if top.defects:  # the parser has ended there, and would take what follows for the body
        raise HostileMailError("a line among its headers is none; ask the sender to mend it")
    headers = _headers(top)
    limits.check("encoded_words", sum(value.count("=?") for _, value in _raw_items(top)), "pieces of encoded text")
    limits.check("addresses", sum(_separators(value) for name in _ADDRESSES for value in _all(top, name)), "addresses")
    senders = _mailboxes(top, "from")
    if len(headers.get("from", ())) != 1 or len(senders) != 1:
        raise HostileMailError("it does not say in one 'From' which one address it is from; ask the sender to mend it")
    [(from_name, from_)] = senders
    text, html, attachments = _contents([*leaves(top, body, limits)])
    return Email(
        from_=from_,
        from_name=from_name,
        to=tuple(address for _, address in _mailboxes(top, "to")),
        cc=tuple(address for _, address in _mailboxes(top, "cc")),
        subject=_first(headers, "subject"),
        text=text,
        html=html,
        date=_date(_first(headers, "date")),
        message_id=next(iter(_ids(headers, "message-id")), None),
        in_reply_to=next(iter(_ids(headers, "in-reply-to")), None),
        references=tuple(_ids(headers, "references")),
        headers=headers,
        attachments=tuple(attachments),
        envelope_from=envelope_from,
        envelope_to=tuple(envelope_to),
    )


def written(raw: bytes, name: str) -> list[str]:
    """What stands in the headers of this name: unfolded, and otherwise as it came, with characters that are no text."""
    return _all(read(head_of(raw)), name)


# --- headers ---------------------------------------------------------------------------------------------


def _raw_items(message: Message) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in message.raw_items()]


def _headers(message: Message) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name, value in _raw_items(message):
        text = _text(value)
        found.setdefault(_line(_text(name)), []).append(_line(text if name in _NEVER_ENCODED else _words(text)))
    return {name: tuple(values) for name, values in found.items()}


def _all(message: Message, name: str) -> list[str]:
    return [_text(value) for known, value in _raw_items(message) if known == name]


def _first(headers: dict[str, tuple[str, ...]], name: str) -> str:
    return next(iter(headers.get(name, ())), "")


def _text(value: str) -> str:
    """Unfolded, and what was not ASCII as the UTF-8 that it may be."""
    return _FOLD.sub("", value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _line(value: str) -> str:
    """Without line ends and other control characters, those too that were encoded."""
    return _CONTROL.sub(" ", value).strip()


def _words(value: str) -> str:
    return _WORD.sub(_word, _BETWEEN_WORDS.sub(r"\1", value))


def _word(found: re.Match[str]) -> str:
    charset, encoding, data = found.groups()
    try:
        content = (
            b64decode(data + "=" * (-len(data) % 4))
            if encoding in "bB"
            else quopri.decodestring(data.encode(), header=True)
        )
    except (binascii.Error, ValueError):
        return found[0]
    return decoded(content, charset.partition("*")[0])


def _separators(value: str) -> int:
    return max(value.count(","), value.count("@"), value.count(";"), value.count("("))


def _mailboxes(message: Message, name: str) -> list[tuple[str, str]]:
    """Names and addresses; what is no address is left out.

    Encoded words are decoded afterwards: an encoded comma separates nothing.
    """
    found = getaddresses([_CONTROL.sub(" ", value) for value in _all(message, name)])
    return [(_line(_words(person)), address) for person, text in found if (address := normal(text)) is not None]


def _ids(headers: dict[str, tuple[str, ...]], name: str) -> list[str]:
    return [found for value in headers.get(name, ()) for found in _ID.findall(value)]


def _date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except Exception:  # ValueError, TypeError, IndexError, OverflowError: a date is what it can read  # noqa: BLE001
        return None


# --- contents --------------------------------------------------------------------------------------------


def _contents(parts: Sequence[Part]) -> tuple[str, str | None, list[Attachment]]:
    """The text, the HTML, and all that is neither."""
    texts, htmls, attachments = list[str](), list[str](), list[Attachment]()
    for part in parts:
        attached = part.headers.get_content_disposition() == "attachment"
        if part.content_type == "text/plain" and not attached:
            texts.append(_body(part))
        elif part.content_type == "text/html" and not attached:
            htmls.append(_body(part))
        else:
            attachments.append(_attachment(part))
    return "\n".join(texts), "\n".join(htmls) if htmls else None, attachments


def _body(part: Part) -> str:
    return _NOT_TEXT.sub("", part.text().replace("\r\n", "\n").replace("\r", "\n"))


def _attachment(part: Part) -> Attachment:
    return Attachment(
        filename=_filename(part.headers),
        content_type=_line(_text(part.content_type)),
        content_id=_line(_text(str(part.headers.get("content-id", "")))) or None,
        content=part.content(),
    )


def _filename(headers: Message) -> str | None:
    """What the sender calls it: no name of a folder is left in it."""
    given = headers.get_param("filename", None, "content-disposition") or headers.get_param("name")
    if given is None:
        return None
    name = _line(_words(_text(collapse_rfc2231_value(given, errors="replace"))))
    return re.split(r"[/\\]", name)[-1].lstrip(".")[:255] or None
