"""A real mail server for the tests, Dovecot as Debian has it: its own configuration, folder and port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from imaplib import IMAP4, Time2Internaldate
from pathlib import Path

DOVECOT = shutil.which("dovecot")
PASSWORD = "secret"

_CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_location = maildir:{folder}/mail/%u
first_valid_uid = 0
mail_max_userip_connections = 100
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/mail/%u
}}
"""


class Server:
    """One mailbox of it."""

    def __init__(self, port: int, user: str, folder: Path) -> None:
        self.port = port
        self.user = user
        self.folder = folder / "mail" / user

    def post(self, raw: bytes, *, flags: str = "", at: datetime | None = None) -> None:
        """A mail arrives."""
        with logged_in(self.port, self.user) as client:
            verdict, told = client.append("INBOX", flags, "" if at is None else Time2Internaldate(at), raw)
            assert verdict == "OK", told

    def numbering(self) -> int:
        """What the server calls it."""
        with logged_in(self.port, self.user) as client:
            _, [found] = client.status("INBOX", "(UIDVALIDITY)")
        return int(found.decode().rpartition(" ")[2].rstrip(")"))

    def flags(self) -> list[str]:
        """Of each mail, in order."""
        with logged_in(self.port, self.user) as client:
            client.select(readonly=True)
            _, found = client.fetch("1:*", "(FLAGS)")
        return [one.decode() for one in found if isinstance(one, bytes)]

    def renumber(self) -> None:
        """What the server knew of the mailbox is lost: every number means another mail from now on."""
        for path in [*self.folder.glob("dovecot-uidlist*"), *self.folder.glob("dovecot.index*")]:
            path.unlink()

    def redate(self, at: datetime) -> None:
        """The mails that are there arrived then."""
        for path in [*self.folder.glob("new/*"), *self.folder.glob("cur/*")]:
            os.utime(path, (at.timestamp(), at.timestamp()))
        self.renumber()


@contextmanager
def logged_in(port: int, user: str) -> Iterator[IMAP4]:
    client = IMAP4("127.0.0.1", port, timeout=10)
    try:
        client.login(user, PASSWORD)
        yield client
    finally:
        client.logout()


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """On a port.  Raises RuntimeError, with what Dovecot says, when it does not come up."""
    assert DOVECOT is not None
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    for inner in ("run", "state", "mail"):
        (folder / inner).mkdir(parents=True)
    for above in (folder, *folder.parents):
        if above.stat().st_uid == os.getuid() and not above.stat().st_mode & 1:
            above.chmod(above.stat().st_mode | 0o111)
    shutil.chown(folder / "mail", "mail", "mail")
    configuration = folder / "dovecot.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, port=port, password=PASSWORD))
    process = subprocess.Popen(
        [DOVECOT, "-F", "-c", str(configuration)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        _await(process, port, folder / "dovecot.log")
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=10)


def _await(process: subprocess.Popen[str], port: int, log: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise RuntimeError(f"dovecot did not start: {process.communicate()[0]}")
        try:
            with logged_in(port, "nobody"):
                return
        except (OSError, IMAP4.error):
            time.sleep(0.05)
    raise RuntimeError(f"dovecot does not answer: {log.read_text() if log.exists() else 'no log'}")
