"""A mail, as an input function sees it, and as the input of a workflow."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

Method: TypeAlias = Literal["dkim", "dmarc"]
_AS_BASE64 = ConfigDict(frozen=True, defer_build=True, ser_json_bytes="base64", val_json_bytes="base64")


class Attachment(BaseModel):
    """A part of a mail that is neither its text nor its HTML.

    ``filename`` is what the sender says: show it, but make no path of it.
    """

    model_config = _AS_BASE64
    filename: str | None
    content_type: str
    content_id: str | None
    content: bytes


class Authentication(BaseModel):
    """Whether somebody vouches for the address in ``From``, which everybody can write there.

    Attributes:
        domain: the domain that does; None when none does.
        method: a signature that was checked here, or what the trusted mail server says.
        signed: names of the headers that the signature covers.
        problem: why nobody vouches for it.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)
    domain: str | None = None
    method: Method | None = None
    signed: tuple[str, ...] = ()
    problem: str | None = None


class Email(BaseModel):
    """A mail that has come in.

    Addresses are without the names of people, as ``ada@example.org``, and their domains in small letters.  Texts hold
    no control characters but those of lines.

    Attributes:
        from_: what the mail says of its sender; ``authentication`` tells whether to believe it.
        text: the plain text; empty where there is only HTML.
        html: as it came: it may hold scripts, so clean it before a person sees it.
        date: when it was written, as it says.
        message_id: with its angle brackets, as are ``in_reply_to`` and ``references``.
        headers: all of them; their names are in small letters.
        envelope_from: to whom it goes back if it cannot be delivered; empty in what mail servers report.
        envelope_to: those of its recipients that this was for.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)
    from_: str
    from_name: str = ""
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    subject: str = ""
    text: str = ""
    html: str | None = None
    date: datetime | None = None
    message_id: str | None = None
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    headers: dict[str, tuple[str, ...]] = {}
    attachments: tuple[Attachment, ...] = ()
    envelope_from: str = ""
    envelope_to: tuple[str, ...] = ()
    authentication: Authentication = Authentication()
