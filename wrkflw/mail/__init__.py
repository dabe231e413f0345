"""Mail comes in: over SMTP, from a mailbox, from a provider, or as bytes; and leads to runs, or answers them.

Which mail is for which workflow is said with :func:`wrkflw.triggers.email` and :func:`wrkflw.triggers.reply`;
:class:`Mailroom` takes it in.  ``pip install "wrkflw[email]"`` for SMTP, IMAP and signatures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wrkflw.on_demand import loaded_from as _loaded_from

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
else:  # What needs the packages of the extra ``email``.
    __getattr__ = _loaded_from(__name__, {"ImapMailbox": "imap", "SmtpServer": "smtp"})

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
