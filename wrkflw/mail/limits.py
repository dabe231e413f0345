"""How large a mail may be, in each of the ways in which mail is made to cost a reader too much."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import HostileMailError


@dataclass(frozen=True, slots=True, kw_only=True)
class MailLimits:
    """What is beyond these is not read but kept in the quarantine; beyond ``size`` it is refused.

    Attributes:
        size: bytes of a mail.
        header_size: bytes of all headers of a mail, or of a part.
        headers: headers of a mail, or of a part.
        parts: parts of a mail, those inside others included.
        depth: levels of parts inside others.
        parameters: of the headers that say what a part is.
        addresses: addresses in its headers together.
        encoded_words: pieces of encoded text in its headers together.
        recipients: recipients of one transfer.
    """

    size: int = 25 * 1024 * 1024
    header_size: int = 64 * 1024
    headers: int = 500
    parts: int = 100
    depth: int = 20
    parameters: int = 100
    addresses: int = 500
    encoded_words: int = 64
    recipients: int = 100

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise ValueError(f"MailLimits({name}={getattr(self, name)}) lets no mail in; give 1 or more")

    def check(self, name: str, got: int, what: str) -> None:
        """Raises HostileMailError when there are more than that."""
        most = getattr(self, name)
        if got > most:
            raise HostileMailError(f"it has more than {most:,} {what}; raise MailLimits({name}=...) to read it")
