"""A mail as a tree of parts, taken apart within limits: nothing is read before it is known to be small enough.

The standard library's parser is not: some hundred levels of parts end its recursion, some thousand parts take it
seconds.  It reads the headers of one part here, whose size is known.
"""

from __future__ import annotations

import binascii
import codecs
import quopri
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32
from encodings import normalize_encoding
from encodings.aliases import aliases

from .errors import HostileMailError
from .limits import MailLimits

_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n|\A\r?\n")
_LINE = re.compile(rb"\r\n|\n")
_BARE_CR = re.compile(rb"\r(?!\n)")
_LONGEST_BOUNDARY = 256
_WITH_PARAMETERS = frozenset({"content-type", "content-disposition"})
_LONGEST_CHARSET = 40
_CHARSETS = frozenset({*aliases, *aliases.values()})
# They take quadratic time, or read what the sender wrote as if it were source code.
_NO_CHARSETS = frozenset({"punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7"})


@dataclass(frozen=True, slots=True)
class Part:
    """A part that holds no others."""

    headers: Message
    body: bytes
    """As it was sent: encoded."""

    @property
    def content_type(self) -> str:
        return self.headers.get_content_type()

    def content(self) -> bytes:
        """Decoded; what is not encoded as it says is given as it is."""
        encoding = str(self.headers.get("content-transfer-encoding", "")).strip().lower()
        try:
            if encoding == "base64":
                return b64decode(self.body)
            if encoding == "quoted-printable":
                return quopri.decodestring(self.body)
        except (binascii.Error, ValueError):
            pass
        return self.body

    def text(self) -> str:
        return decoded(self.content(), self.headers.get_content_charset("utf-8"))


def split(raw: bytes, limits: MailLimits) -> tuple[Message, bytes]:
    """The headers, and what follows them.  Raises HostileMailError."""
    # One more than may be, so that the search ends there whatever follows.
    found = _END_OF_HEADERS.search(raw, 0, limits.header_size + 4)
    head, body = (raw[: found.start()], raw[found.end() :]) if found else (raw, b"")
    limits.check("header_size", len(head), "bytes of headers")
    limits.check("headers", len(_LINE.findall(head)) + 1, "lines of headers")
    if b"\x00" in head:
        raise HostileMailError("its headers hold NUL, which no mail may; ask the sender to mend it")
    if _BARE_CR.search(head):  # to the parser below a line ends there, to mail servers and signatures it does not
        raise HostileMailError("its headers hold a CR without LF, which no mail may; ask the sender to mend it")
    headers = read(head)
    parameters = sum(value.count(";") for name, value in headers.raw_items() if name.lower() in _WITH_PARAMETERS)
    limits.check("parameters", parameters, "parameters")  # it takes time for each of the others, for each
    return headers, body


def read(head: bytes) -> Message:
    """The headers of a part, of which nothing is decoded or unfolded."""
    return BytesHeaderParser(policy=compat32).parsebytes(head + b"\r\n\r\n")


def head_of(raw: bytes) -> bytes:
    """The headers, as they came."""
    found = _END_OF_HEADERS.search(raw)
    return raw[: found.start()] if found else raw


def leaves(headers: Message, body: bytes, limits: MailLimits) -> Iterator[Part]:
    """The parts that hold no others, in order.  A mail inside of a mail is one of them.  Raises HostileMailError."""
    seen = 0
    waiting = [(headers, body, 1)]
    while waiting:
        headers, body, depth = waiting.pop()
        seen += 1
        limits.check("parts", seen, "parts")
        limits.check("depth", depth, "levels of parts")
        inner = _inner(headers, body, limits.parts)
        if inner is None:
            yield Part(headers, body)
            continue
        limits.check("parts", seen + len(waiting) + len(inner), "parts")
        waiting += [(*split(piece, limits), depth + 1) for piece in reversed(inner)]


def _inner(headers: Message, body: bytes, most: int) -> list[bytes] | None:
    """The parts inside of a part; None when it holds none."""
    if headers.get_content_maintype() != "multipart":
        return None
    boundary = headers.get_param("boundary")
    if not isinstance(boundary, str) or not 0 < len(boundary) <= _LONGEST_BOUNDARY or not boundary.isascii():
        return None
    dashes = b"--" + re.escape(boundary.rstrip().encode())
    # What is looked for begins the expression, and what stands before it comes second: that takes a tenth of the time.
    delimiter = re.compile(dashes + rb"(?<=\n" + dashes + rb")(--)?[ \t]*(?=\r?\n|$)")
    body = b"\n" + body
    inner: list[bytes] = []
    begin: int | None = None
    for found in delimiter.finditer(body):
        if begin is not None:
            end = found.start() - (2 if body[found.start() - 2 : found.start()] == b"\r\n" else 1)
            inner.append(_without_first_line_end(body, begin, end))
        begin = found.end()
        if found[1] or len(inner) > most:
            return inner
    if begin is not None:  # its end is missing
        inner.append(_without_first_line_end(body, begin, len(body)))
    return inner


def _without_first_line_end(body: bytes, begin: int, end: int) -> bytes:
    """What stands between two delimiters: the line end behind the first is part of that."""
    begin += 2 if body[begin : begin + 2] == b"\r\n" else 1
    return body[begin : max(begin, end)]


def decoded(data: bytes, charset: str) -> str:
    """As text; what cannot be read is replaced.  It holds no lone surrogates."""
    name = normalize_encoding(charset[:_LONGEST_CHARSET]).lower()
    try:
        # Python keeps every name for ever that was looked up, also those that it does not know.
        name = codecs.lookup(name).name if name in _CHARSETS else "utf-8"
        text = data.decode("utf-8" if name in _NO_CHARSETS else name, "replace")
    except (LookupError, ValueError, UnicodeError):
        text = data.decode("utf-8", "replace")
    return text.encode("utf-8", "replace").decode("utf-8")
