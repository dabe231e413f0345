"""How mail is refused.

WrkflwError
└── MailError
    ├── HostileMailError     it is not read: kept in the quarantine
    ├── MailTooLargeError    nothing is kept, and the sender is told
    ├── NoRecipientError     the same
    ├── UndeliveredError     released from the quarantine, and still for nobody
    └── MissingExtraError    a package is not installed
"""

from __future__ import annotations

from wrkflw.errors import WrkflwError


class MailError(WrkflwError):
    """What is about mail."""


class HostileMailError(MailError):
    """The mail is made so that reading it would cost too much, or readers would differ about it."""


class MailTooLargeError(MailError):
    """The mail is larger than what is taken."""

    def __init__(self, got: int, limit: int) -> None:
        super().__init__(f"the mail has {got:,} bytes, and {limit:,} are taken; send less, or raise MailLimits(size=)")
        self.got = got
        self.limit = limit


class NoRecipientError(MailError):
    """No workflow takes mail to any of these addresses."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        shown = ", ".join(repr(address[:80]) for address in addresses[:3]) or "nobody"
        super().__init__(f"no workflow takes mail to {shown}; give one a route with email() or reply()")
        self.addresses = addresses


class UndeliveredError(MailError):
    """The mail was released from the quarantine, and the reason why it is there still holds."""

    def __init__(self, mail_id: str, reason: str) -> None:
        super().__init__(f"mail {mail_id!r} stays in the quarantine: {reason}")
        self.mail_id = mail_id
        self.reason = reason


class MissingExtraError(MailError):
    """A package that this needs is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f'{package!r} is not installed; pip install "wrkflw[email]"')
        self.package = package
