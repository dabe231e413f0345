"""One disk: it counts what is done to it, fails where it is told to, and may write down everything for a power cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from . import vfs

Kind: TypeAlias = Literal["create", "read", "write", "truncate", "sync", "delete"]
Mode: TypeAlias = Literal["before", "torn", "after", "EIO", "ENOSPC", "full"]
"""The process dies before, within or after one operation; or that one fails; or from it on there is no space."""

MODES: dict[Kind, tuple[Mode, ...]] = {
    "create": ("before", "after", "EIO", "ENOSPC", "full"),
    "read": ("EIO",),
    "write": ("before", "torn", "after", "EIO", "ENOSPC", "full"),
    "truncate": ("before", "after", "EIO"),
    "sync": ("before", "after", "EIO", "ENOSPC", "full"),
    "delete": ("before", "after", "EIO"),
}
"""What may become of each kind of operation."""
_NO_SPACE: dict[Kind, int] = {"create": vfs.CANTOPEN, "write": vfs.FULL, "sync": vfs.FULL}

_IO_ERRORS: dict[Kind, int] = {
    "create": vfs.CANTOPEN,
    "read": vfs.IOERR_READ,
    "write": vfs.IOERR_WRITE,
    "truncate": vfs.IOERR_TRUNCATE,
    "sync": vfs.IOERR_FSYNC,
    "delete": vfs.IOERR_DELETE,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at which operation, counted from 0."""

    mode: Mode
    number: int


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was done to a file: ``data`` written at ``offset``, the file cut to the size ``offset``, …"""

    kind: Kind
    name: str
    offset: int = 0
    data: bytes = b""


@dataclass
class Disk:
    """A guard for SQLite's files.  ``on_death`` is called once, in the thread that did the operation."""

    fault: Fault | None = None
    on_death: Callable[[], None] = lambda: None
    record: bool = False
    dead: bool = False
    kinds: list[Kind] = field(default_factory=list)
    """The operations so far."""
    changes: list[Change] = field(default_factory=list)
    """What was done, if it is recorded."""
    _asked: Change | None = None
    _dies_now: bool = False

    # --- as a guard --------------------------------------------------------------------------------

    def create(self, name: str) -> int:
        return self._ask(Change("create", name))

    def read(self, name: str) -> int:
        return self._ask(Change("read", name))

    def write(self, name: str, offset: int, data: bytes) -> tuple[int, int]:
        number, lived = len(self.kinds), not self.dead
        code = self._ask(Change("write", name, offset, data))
        if code == vfs.OK:
            return len(data), code
        torn = lived and self.fault is not None and self.fault.number == number and self.fault.mode in _HALF
        return (len(data) // 2 if torn else 0), code

    def truncate(self, name: str, size: int) -> int:
        return self._ask(Change("truncate", name, size))

    def sync(self, name: str) -> int:
        return self._ask(Change("sync", name))

    def delete(self, name: str) -> int:
        return self._ask(Change("delete", name))

    def done(self) -> None:
        if self.record and self._asked is not None:
            self.changes.append(self._asked)
        self._asked = None
        if self._dies_now:
            self._die()

    # --- what becomes of it ------------------------------------------------------------------------

    def _ask(self, change: Change) -> int:
        kind = change.kind
        if self.dead:
            return _IO_ERRORS[kind]
        number = len(self.kinds)
        self.kinds.append(kind)
        if kind != "read":  # which may happen in a thread beside
            self._asked = change
        if self.fault is None or number < self.fault.number:
            return vfs.OK
        if self.fault.mode == "full":
            return _NO_SPACE.get(kind, vfs.OK)
        if number > self.fault.number:
            return vfs.OK
        match self.fault.mode:
            case "after":
                self._dies_now = True
                return vfs.OK
            case "before" | "torn":
                self._die()
                return _IO_ERRORS[kind]
            case "EIO":
                return _IO_ERRORS[kind]
            case _:
                return _NO_SPACE[kind]

    def _die(self) -> None:
        self.dead, self._dies_now = True, False
        self.on_death()


_HALF: frozenset[Mode] = frozenset({"torn", "ENOSPC"})
"""These leave the first half of what was to be written."""
