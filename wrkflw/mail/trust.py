"""Who vouches for the sender of a mail: a signature that is checked here, or the mail server that took it in.

Anybody can write any address into ``From``, so it proves nothing by itself.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

from wrkflw.triggers.addresses import AddressPattern, domain_of
from wrkflw.triggers.emails import Authentication, Email

from .errors import MissingExtraError
from .parsing import SINGLE, written
from .parts import head_of

Lookup: TypeAlias = Callable[[str], bytes | None]
"""The TXT record of a name, from DNS; None where there is none."""

_MOST_SIGNATURES = 5
_LONGEST_SIGNATURE = 4096
"""Bytes of a signature that is checked: dkimpy takes quadratic time for it, and holds the interpreter meanwhile."""
_RESULT = re.compile(r"\s*([a-z0-9-]+)\s*=\s*([a-z]+)\b", re.IGNORECASE)
_DOMAIN = re.compile(r"\bheader\.(from|d)\s*=\s*@?([a-z0-9.-]+)", re.IGNORECASE)
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"|[()"\\]|[^()"\\]+')
"""What is quoted, a letter that begins or ends what the sender may have written, or what is neither."""
_SERVER = re.compile(r"[^\s;()\"]+")
_ASIDES = r"(?:[ \t]|\([^()\"\\\x00-\x08\x0a-\x1f\x7f]*+\))"
"""What may stand around the name of a server, and its version: blanks and comments (RFC 8601, 2.2)."""
_LINE_ENDS = re.compile(rb"\r?\n")
_BLANKS = re.compile(rb"[\t ]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom to believe.  By default nobody, so nobody may answer what runs ask by mail.

    Attributes:
        authserv_id: the mail server in front of this one, which writes ``Authentication-Results`` under this name, and
            removes what others have written under it.  Its ``dmarc=pass`` is believed, and ``dkim=pass`` of the domain
            of the sender, unless its ``dmarc`` fails.
        dkim: check signatures here.  Takes the extra ``email``, and DNS.
        lookup: asks DNS, in a thread; without it the packages of the extra do.

    Raises:
        ValueError: ``authserv_id`` is the name of no mail server.
        MissingExtraError: ``dkim``, and the extra is not installed.
    """

    authserv_id: str | None = None
    dkim: bool = False
    lookup: Lookup | None = None

    def __post_init__(self) -> None:
        if self.authserv_id is not None and not _SERVER.fullmatch(self.authserv_id):
            cure = "give what your mail server writes in front of the first ';' of Authentication-Results"
            raise ValueError(f"authserv_id={self.authserv_id!r} is the name of no mail server; {cure}")
        if self.dkim and find_spec("dkim") is None:
            raise MissingExtraError("dkimpy")

    async def authenticate(self, raw: bytes, mail: Email) -> Authentication:
        """Who vouches for the sender."""
        if self.authserv_id is None and not self.dkim:
            return Authentication(problem="this deployment believes nobody; give it a Trust(...)")
        twice = [name for name in SINGLE if len(mail.headers.get(name, ())) > 1]
        if twice:
            return Authentication(problem=f"the mail has {twice[0]!r} twice, and readers take one or the other")
        if len(set(_LINE_ENDS.findall(head_of(raw)))) > 1:
            # What is a header here is the inside of one to the server before.
            return Authentication(problem="the lines of its headers do not all end alike")
        found = Authentication(problem="nobody vouches for the sender")
        if self.authserv_id is not None:
            found = _told(raw, mail, self.authserv_id)
        if found.domain is None and self.dkim and "dkim-signature" in mail.headers:
            found = await asyncio.to_thread(_checked, raw, mail, self.lookup)
        return found


def refusal(mail: Email, senders: Sequence[AddressPattern], carrier: Sequence[str] = ()) -> str | None:
    """Why the sender is not let in; None when it is.

    ``carrier`` are the headers of which a signature has to cover one: those that say what the mail is an answer to.
    Otherwise a mail that was signed once could be sent again as the answer to something else.
    """
    known = mail.authentication
    if known.domain is None:
        return f"the sender {mail.from_!r} is not proven: {known.problem}"
    if known.method == "dkim" and carrier and not set(carrier) & set(known.signed):
        return f"the signature of {known.domain!r} does not cover {' or '.join(map(repr, carrier))}"
    if not any(pattern.matches(mail.from_) for pattern in senders):
        return f"{mail.from_!r} is none of the senders that may write this"
    return None


def _aligned(domain: str, sender: str) -> bool:
    """Whether a domain may speak for a sender: the same, or one that it is below."""
    domain = domain.lower().rstrip(".")
    return "." in domain and (sender == domain or sender.endswith(f".{domain}"))


def _told(raw: bytes, mail: Email, authserv_id: str) -> Authentication:
    """What our mail server says.  Its own is the first: each server writes above what others have written.

    What looks like it and is not may have been left in place by our server, which took it for somebody else's.
    """
    sender, name = domain_of(mail.from_), re.escape(authserv_id)
    for value in written(raw, "authentication-results"):
        if not re.match(rf"[^\w;(]*{name}(?![\w./-])", value, re.ASCII | re.IGNORECASE):
            continue
        if not re.match(rf"[ \t]*{name}(?:{_ASIDES}++1)?{_ASIDES}*+(?:;|\Z)", value):
            return Authentication(problem=f"{value[:80]!r} is not how {authserv_id!r} begins what it says")
        _, _, results = _without_asides(value).partition(";")
        if (domain := _vouched_for(results, sender)) is not None:
            return Authentication(domain=domain, method="dmarc")
        return Authentication(problem=f"{authserv_id!r} does not vouch for {sender!r}")
    return Authentication(problem=f"{authserv_id!r} has said nothing about it")


def _vouched_for(results: str, sender: str) -> str | None:
    """The domain that speaks for the sender; None when there is none, or the results contradict each other."""
    vouched: str | None = None
    for result in results.split(";"):
        named, domains = _RESULT.match(result), {kind.lower(): one for kind, one in _DOMAIN.findall(result)}
        match named and (named[1].lower(), named[2].lower()):
            case ("dmarc", "pass") if domains.get("from", "").lower() == sender:
                vouched = vouched or sender
            case ("dmarc", _):  # all of them have to pass: the sender may have written one of two
                return None
            case ("dkim", "pass") if _aligned(domains.get("d", ""), sender):
                vouched = vouched or domains["d"].lower()
            case _:
                continue
    return vouched


def _without_asides(value: str) -> str:
    """Without what is quoted and without comments, those in others too; nothing where readers differ about them."""
    told, depth = list[str](), 0
    for found in _PIECE.finditer(value):
        piece = found[0]
        if piece == "(":
            depth += 1
        elif piece == ")" and depth:
            depth -= 1
        elif piece in ')"\\':
            return ""
        elif not depth and piece[0] != '"':
            told.append(piece)
    return "" if depth else " ".join(told)


def _checked(raw: bytes, mail: Email, lookup: Lookup | None) -> Authentication:
    """The first signature that holds, is of the sender's domain and covers the whole body."""
    dkim: Any = import_module("dkim")  # an extra, needed by who asks for it

    def ask(name: bytes | str, timeout: int = 5) -> bytes | None:
        return dkim.get_txt(name, timeout) if lookup is None else lookup(_name(name))

    sender, problem = domain_of(mail.from_), "no signature of it holds"
    for index in range(min(len(mail.headers["dkim-signature"]), _MOST_SIGNATURES)):
        try:
            signature = dkim.DKIM(raw)
            _shorten(signature, index)
            if not signature.verify(index, dnsfunc=ask):
                continue
        except Exception as error:  # DNS, and whatever a hostile signature leads to: it does not hold  # noqa: BLE001
            problem = f"no signature of it holds: {type(error).__name__}: {str(error)[:200]}"
            continue
        domain, signed = _name(signature.domain), tuple(sorted({_name(name) for name in signature.include_headers}))
        if b"l" in signature.signature_fields:
            problem = f"the signature of {domain!r} leaves out the end of the body"
        elif not {"from", "subject"} <= set(signed):
            problem = f"the signature of {domain!r} does not cover 'From' and 'Subject'"
        elif not _aligned(domain, sender):
            problem = f"it is signed by {domain!r}, which is not the sender's domain"
        else:
            return Authentication(domain=domain, method="dkim", signed=signed)
    return Authentication(problem=problem)


def _shorten(signature: Any, index: int) -> None:
    """Spare dkimpy what it takes quadratic time for: many blanks.  Raises ValueError for a signature that is too long.

    A body that is signed as ``relaxed`` may be given to it without them.
    """
    dkim_util: Any = import_module("dkim.util")
    written = [value for name, value in signature.headers if name.lower() == b"dkim-signature"][index]
    if len(written) > _LONGEST_SIGNATURE:
        raise ValueError(f"it has {len(written):,} bytes, and {_LONGEST_SIGNATURE:,} are read")
    if dkim_util.parse_tag_value(written).get(b"c", b"").endswith(b"/relaxed"):
        signature.body = _BLANKS.sub(b" ", signature.body).replace(b" \r\n", b"\r\n")


def _name(value: bytes | str) -> str:
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else value).lower()
