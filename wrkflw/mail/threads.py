"""What a run puts into the mail that it sends, so that the reply finds it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol

from wrkflw.triggers.addresses import normal, tag_of
from wrkflw.triggers.emails import Email

_OURS = re.compile(r"<([A-Za-z0-9_-]{1,128})\.([0-9a-f]{16})\.wrkflw@[^@>]+>")
_MINTED = re.compile(r"wrun_[0-9a-z]{26}", re.IGNORECASE)
_LONGEST_LOCAL_PART = 64


class Asking(Protocol):
    """The context of a step's body."""

    @property
    def run_id(self) -> str: ...
    @property
    def key(self) -> str: ...


def message_id(ctx: Asking, domain: str, /) -> str:
    """The ``Message-ID`` for a mail that this step sends: the same in every attempt, so that readers see it once.

    A reply names it in ``In-Reply-To``, and so it finds the run.  The run id in it is no secret: it says which run is
    meant, and the senders of the route say who may answer.

    Raises:
        ValueError: ``domain`` is none.
    """
    if normal(f"a@{domain}") is None:
        raise ValueError(f"{domain!r} cannot be the domain of a Message-ID; give one of yours, as 'example.org'")
    return f"<{ctx.run_id}.{mark_of(ctx.key)}.wrkflw@{domain}>"


def reply_address(ctx: Asking, address: str, /) -> str:
    """The ``Reply-To`` for a mail that this step sends: ``address`` with the run behind a plus.

    For readers whose mail programs leave out ``In-Reply-To``; use it beside :func:`message_id`.

    Raises:
        ValueError: ``address`` is none, or becomes longer than mail servers take.
    """
    known = normal(address)
    if known is None:
        raise ValueError(f"{address!r} cannot be an address to reply to; give one as 'approvals@example.org'")
    local, _, domain = known.partition("@")
    if len(tagged := f"{local}+{ctx.run_id}") > _LONGEST_LOCAL_PART:
        raise ValueError(f"{tagged!r} is longer than mail servers take; use a shorter name before the '@'")
    return f"{tagged}@{domain}"


class Clue(NamedTuple):
    """What a mail says of the run that it is for."""

    text: str
    """A run id, or what stands behind a plus."""
    carrier: Sequence[str]
    """The headers that say it; none where only the envelope does."""
    mark: str | None = None
    """Of the call that has sent what is replied to."""


def mark_of(key: str) -> str:
    """What stands for the key of a call in the ``Message-ID`` that it sends."""
    return sha256(key.encode()).hexdigest()[:16]


def tags_of(mail: Email) -> Iterator[Clue]:
    """What stands behind the plus of the addresses that it came to, each once."""
    written = {"to": set(map(str.lower, mail.to)), "cc": set(map(str.lower, mail.cc))}
    for address in dict.fromkeys(mail.envelope_to):
        if tag := tag_of(address):
            yield Clue(tag, [name for name, those in written.items() if address.lower() in those])


def runs_named_by(mail: Email) -> Iterator[Clue]:
    """The runs whose mail it is a reply to: the latest first."""
    written = {"in-reply-to": (mail.in_reply_to or "",), "references": mail.references}
    for named in dict.fromkeys((mail.in_reply_to or "", *reversed(mail.references))):
        if found := _OURS.fullmatch(named):
            yield Clue(found[1], [name for name, those in written.items() if named in those], found[2])


def run_in(tag: str) -> str:
    """The run that a tag may name: mail servers may have changed the case of a run id."""
    return f"wrun_{tag[5:].upper()}" if _MINTED.fullmatch(tag) else tag
