"""What mail providers send when mail has come to them: the mail itself, and its envelope.

Only those of their forms are read that hold the mail as it came.  What they have made of it (fields of a form, parts as
JSON) has lost what signatures cover, and each provider loses something else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

from wrkflw.triggers.endpoints import HttpRequest

from .limits import MailLimits
from .parts import leaves, split


class Incoming(NamedTuple):
    """A mail and its envelope; None where the provider does not tell, and the addresses in the mail count."""

    raw: bytes
    envelope_from: str = ""
    envelope_to: Sequence[str] | None = None


Provider: TypeAlias = Callable[[HttpRequest, MailLimits], Incoming]
"""Takes the mail out of a request.  Raises ValueError, or an error of mail, when there is none in it."""


def raw_mime(request: HttpRequest, limits: MailLimits) -> Incoming:
    """The body is the mail, ``Content-Type: message/rfc822``; ``X-Envelope-From`` and ``X-Envelope-To`` its envelope.

    For your own mail server, and for providers that have no form of their own.  Several recipients are separated by
    commas.
    """
    if _content_type(request) != "message/rfc822":
        raise ValueError("send the mail as it is, with 'Content-Type: message/rfc822'")
    to = request.headers.get("x-envelope-to")
    recipients = None if to is None else [one.strip() for one in to.split(",")]
    return Incoming(request.body, request.headers.get("x-envelope-from", ""), recipients)


def sendgrid(request: HttpRequest, limits: MailLimits) -> Incoming:
    """Inbound Parse of SendGrid, with "POST the raw, full MIME message" switched on."""
    if _content_type(request) != "multipart/form-data":
        raise ValueError("this is no form of SendGrid's Inbound Parse")
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode("utf-8", "replace")
    headers, _ = split(head, limits)
    fields: dict[str, bytes] = {}
    for part in leaves(headers, request.body, limits):
        name = part.headers.get_param("name", header="content-disposition")
        if isinstance(name, str):
            fields[name] = part.body
    if "email" not in fields:
        raise ValueError("there is no mail in the form; switch on 'POST the raw, full MIME message'")
    envelope = _object(fields.get("envelope", b"{}"))
    to = envelope.get("to")
    recipients = [str(one) for one in cast("list[object]", to)] if isinstance(to, list) else None
    return Incoming(fields["email"], str(envelope.get("from", "")), recipients)


def postmark(request: HttpRequest, limits: MailLimits) -> Incoming:
    """The inbound webhook of Postmark, with "Include raw email content in JSON payload" switched on."""
    told = _object(request.body)
    raw, to = told.get("RawEmail"), told.get("OriginalRecipient")
    if not isinstance(raw, str):
        raise ValueError("there is no mail in it; switch on 'Include raw email content in JSON payload'")
    recipients = [to] if isinstance(to, str) and to else None
    return Incoming(raw.encode("utf-8", "surrogateescape"), str(told.get("From", "")), recipients)


def _content_type(request: HttpRequest) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _object(text: bytes) -> dict[str, Any]:
    """Raises ValueError unless it is an object of JSON."""
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no JSON") from error
    if not isinstance(found, dict):
        raise ValueError("it is no object of JSON")
    return cast("dict[str, Any]", found)
