"""Bodies of requests: JSON, and nothing that two readers could read differently."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn, cast

from starlette.requests import Request

from wrkflw.asgi import Begun, Message, header_of
from wrkflw.clock import Clock, within

from .limits import ServerLimits
from .problems import Refusal

JSON = "application/json"
_DEPTH = 200


async def read_body(request: Request, limits: ServerLimits, clock: Clock) -> bytes:
    """The body.  Raises Refusal when it is too large, or does not come in time."""
    first = Begun(request.receive())
    if first.message is not None and not first.message.get("more_body"):  # most are small, and need no timer
        return _part(first.message, 0, limits)
    body = bytearray()
    try:
        async with within(clock, limits.body_time):
            message = await first
            body += _part(message, 0, limits)
            while message.get("more_body"):
                message = await request.receive()
                body += _part(message, len(body), limits)
    except TimeoutError:
        raise Refusal(408, "the body did not come in time", {"Connection": "close"}) from None
    return bytes(body)


def _part(message: Message, before: int, limits: ServerLimits) -> bytes:
    """What has come of the body.  Raises Refusal."""
    if message["type"] == "http.disconnect":
        raise Refusal(400, "the body ended before its end")
    part: bytes = message.get("body", b"")
    if before + len(part) > limits.body_bytes:
        raise Refusal(413, f"a body has at most {limits.body_bytes:,} bytes")
    return part


async def read_json(request: Request, limits: ServerLimits, clock: Clock) -> bytes:
    """The body, which is one JSON value, or nothing at all.  Raises Refusal."""
    body = await read_body(request, limits, clock)
    if not body:
        return b""
    check_content_type(header_of(request.scope, b"content-type"))
    check_json(body)
    return body


def check_content_type(content_type: str | None) -> None:
    """Raises Refusal when it is not JSON in UTF-8."""
    if content_type == JSON:
        return
    media, *parameters = (part.strip().lower() for part in (content_type or "").split(";"))
    charsets = [part.removeprefix("charset=").strip('"') for part in parameters if part.startswith("charset=")]
    if media != JSON or any(charset not in ("utf-8", "utf8", "us-ascii") for charset in charsets):
        given = repr(content_type[:80]) if content_type else "of no type"
        raise Refusal(415, f"a body is JSON, not {given}; send it with 'Content-Type: {JSON}'")


def check_json(body: bytes) -> object:
    """What the body says.  Raises Refusal when that is not JSON, or says a thing twice."""
    try:
        text = body.decode("utf-8")
        if text.startswith("\ufeff"):
            raise ValueError("Unexpected UTF-8 BOM")
        value: object = _JSON.decode(text)
        if body.count(b"[") + body.count(b"{") > _DEPTH:
            _check_depth(value)
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Refusal(400, f"the body is not JSON: {reason[:200]}") from None
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{twice[:80]!r} is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


_JSON = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(_DEPTH):
        level = [child for one in level for child in _children(one)]
    if level:
        raise RecursionError


def _children(value: object) -> Iterator[object]:
    """Those that may have children of their own."""
    if isinstance(value, dict | list):
        some = cast("dict[str, object] | list[object]", value)
        yield from (one for one in (some.values() if isinstance(some, dict) else some) if isinstance(one, dict | list))
