"""Mail comes in: over SMTP, from a mailbox, from a provider, or as bytes; and leads to runs, or answers them.

Which mail is for which workflow is said with :func:`wrkflw.triggers.email` and :func:`wrkflw.triggers.reply`;
:class:`Mailroom` takes it in.  ``pip install "wrkflw[email]"`` for SMTP, IMAP and signatures.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .errors import (
    HostileMailError,
    MailError,
    MailTooLargeError,
    MissingExtraError,
    NoRecipientError,
    UndeliveredError,
)
from .hook import BasicLogin, MailHook
from .limits import MailLimits
from .mailroom import Delivery, Mailroom
from .providers import Incoming, Provider, postmark, raw_mime, sendgrid
from .quarantine import HeldMail, Quarantine
from .threads import message_id, reply_address
from .trust import Trust

if TYPE_CHECKING:
    from .imap import ImapMailbox
    from .smtp import SmtpServer

__all__ = [
    "BasicLogin",
    "Delivery",
    "HeldMail",
    "HostileMailError",
    "ImapMailbox",
    "Incoming",
    "MailError",
    "MailHook",
    "MailLimits",
    "MailTooLargeError",
    "Mailroom",
    "MissingExtraError",
    "NoRecipientError",
    "Provider",
    "Quarantine",
    "SmtpServer",
    "Trust",
    "UndeliveredError",
    "message_id",
    "postmark",
    "raw_mime",
    "reply_address",
    "sendgrid",
]

# What needs the packages of the extra ``email``.
_ON_DEMAND = {"ImapMailbox": "imap", "SmtpServer": "smtp"}


def __getattr__(name: str) -> object:
    if name in _ON_DEMAND:
        return getattr(import_module(f".{_ON_DEMAND[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
