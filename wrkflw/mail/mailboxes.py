"""One connection to a mailbox, spoken by one thread: what is new in it, and waiting for more."""

from __future__ import annotations

import imaplib
import re
import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from .errors import MailError, MissingExtraError

try:
    import imap_tools
except ImportError as error:
    raise MissingExtraError("imap-tools") from error

_SIZE = re.compile(rb"RFC822\.SIZE (\d+)")
_UID = re.compile(rb"UID (\d+)")
_ARRIVED = re.compile(rb'INTERNALDATE "([^"]+)"')
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_SECONDS = 30.0
"""After which a server that is silent is given up; while it is waited for new mail, it may be."""


class MailboxError(MailError):
    """The mailbox cannot be read."""


class Position(NamedTuple):
    """The mails up to ``uid`` were taken in, in the numbering that the server calls ``validity``."""

    validity: int
    uid: int
    since: int | None
    """When the latest mail arrived that may not have been taken in, as it had been seen before; in Unix seconds.
    None where a version has written the position that did not keep it."""

    @classmethod
    def of(cls, text: str) -> Position:
        validity, uid, *since = map(int, text.split(":"))
        return cls(validity, uid, since[0] if since else None)

    def __str__(self) -> str:
        return ":".join(str(number) for number in self if number is not None)


class Kept(NamedTuple):
    """A mail in the mailbox."""

    uid: int
    arrived: int
    """As the server has it, in Unix seconds."""
    seen: bool


@dataclass(frozen=True, slots=True)
class Account:
    """Where a mailbox is, and who reads it."""

    host: str
    user: str
    password: str = field(repr=False)
    folder: str
    port: int
    tls: ssl.SSLContext | None
    """None for a connection in the clear, to this machine."""

    def __str__(self) -> str:
        return f"{self.user}@{self.host}/{self.folder}"


class Mailbox:
    """Every call blocks.  Raises MailboxError."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._box: imap_tools.BaseMailBox | None = None

    def open(self) -> int:
        """Log in; the numbering of the mails."""
        account = self._account
        with _worded(account):
            made: imap_tools.BaseMailBox
            if account.tls is None:
                made = imap_tools.MailBoxUnencrypted(account.host, account.port, timeout=_SECONDS)
            else:
                made = imap_tools.MailBox(account.host, account.port, timeout=_SECONDS, ssl_context=account.tls)
            self._box = made
            made.login(account.user, account.password, initial_folder=account.folder)
            return int(made.folder.status(account.folder, ["UIDVALIDITY"])["UIDVALIDITY"])

    def new_after(self, uid: int) -> list[int]:
        """The mails behind that one, in order."""
        with _worded(self._account):
            found = sorted(int(one) for one in self._opened.uids(f"UID {uid + 1}:*"))
        return [one for one in found if one > uid]  # `*` is the last one, whatever its number

    def last(self) -> int:
        """The last of all mails; 0 where there is none."""
        with _worded(self._account):
            return max((int(one) for one in self._opened.uids("UID *")), default=0)

    def up_to(self, uid: int) -> list[Kept]:
        """The mails up to that one, in order."""
        if uid == 0:
            return []
        with _worded(self._account):
            lines = self._fetched(f"1:{uid}", "(UID INTERNALDATE FLAGS)")
            return sorted(kept for line in lines if isinstance(line, bytes) and (kept := _kept(line)) is not None)

    def size(self, uid: int) -> int | None:
        """How large the mail is; None when it is gone."""
        with _worded(self._account):
            for line in self._fetched(uid, "(RFC822.SIZE)"):
                if isinstance(line, bytes) and (found := _SIZE.search(line)):
                    return int(found[1])
        return None

    def read(self, uid: int) -> bytes | None:
        """The mail, as it came; None when it is gone.  It stays unseen."""
        with _worded(self._account):
            for line in self._fetched(uid, "(BODY.PEEK[])"):
                if isinstance(line, tuple):
                    return line[1]
        return None

    def mark_seen(self, uid: int) -> None:
        with _worded(self._account):
            self._opened.client.uid("STORE", str(uid), "+FLAGS", r"(\Seen)")

    def wait(self, seconds: float) -> bool:
        """Until there may be new mail, but no longer.  False, and at once, where the server cannot tell."""
        with _worded(self._account):
            if "IDLE" not in self._opened.client.capabilities:
                return False
            self._opened.idle.wait(timeout=seconds)
            return True

    def close(self) -> None:
        box, self._box = self._box, None
        if box is not None:
            with suppress(imap_tools.ImapToolsError, imaplib.IMAP4.error, OSError):  # it is over in any case
                box.client.logout()
            with suppress(OSError):
                box.client.shutdown()

    def interrupt(self) -> None:
        """From another thread: whatever is being waited for ends."""
        if (box := self._box) is not None:
            with suppress(OSError):
                box.client.sock.shutdown(socket.SHUT_RDWR)

    @property
    def _opened(self) -> imap_tools.BaseMailBox:
        if self._box is None:
            raise MailboxError(f"mailbox {self._account} is not open")
        return self._box

    def _fetched(self, uids: int | str, what: str) -> list[bytes | tuple[bytes, bytes] | None]:
        # Not imap-tools' own fetch: it parses the mail, and signatures need the bytes as they came.
        verdict, lines = self._opened.client.uid("FETCH", str(uids), what)
        if verdict != "OK":
            raise MailboxError(f"mailbox {self._account} does not give its mail {uids}: {verdict}")
        return lines


def _kept(line: bytes) -> Kept | None:
    """A mail, as the server tells of it; None for what it tells besides, of flags that have changed."""
    flags = _FLAGS.search(line)
    rest = _FLAGS.sub(b"", line)  # a flag may have any name
    uid, arrived = _UID.search(rest), _ARRIVED.search(rest)
    if flags is None or uid is None or arrived is None:
        return None
    at = parsedate_to_datetime(arrived[1].decode())
    return Kept(int(uid[1]), int(at.timestamp()), b"\\seen" in flags[1].lower().split())


@contextmanager
def _worded(account: Account) -> Generator[None]:
    """Within: what the server, the network and the library say becomes a MailboxError."""
    try:
        yield
    except (imap_tools.ImapToolsError, imaplib.IMAP4.error, OSError, ValueError, AttributeError) as error:
        raise MailboxError(f"mailbox {account} cannot be read: {type(error).__name__}: {str(error)[:200]}") from error
