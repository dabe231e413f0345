"""A bell for each process: who has committed tells the others what, and they need not ask the database.

A bell is a FIFO beside the lock file of its process, and what is rung is a hint: lost when it is full, or when who
rings dies between its commit and that.  A bell whose process has died says so at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from .sql.database import Notice

Heard: TypeAlias = Callable[[str, Sequence[str]], None]
"""Told the run id and what was written to it; without an id, anything may have been written anywhere."""

_SUFFIX = ".bell"
_ANYTHING = b"*\n"
_MOST_AT_ONCE = min(getattr(select, "PIPE_BUF", 512), 4096)  # bytes that are written whole or not at all
_READ = 65_536
_MAYBE_FULL = 15_000
"""Bytes.  A FIFO that took something no more holds at least so much, so who finds less has missed nothing."""


def bell_of(lock_file: Path) -> Path:
    return lock_file.with_name(lock_file.name + _SUFFIX)


def is_bell(name: str) -> bool:
    return name.endswith(_SUFFIX)


class OwnBell:
    """The bell of this process at ``path``; ``heard`` is called on the event loop for whatever is rung."""

    def __init__(self, path: Path, heard: Heard) -> None:
        self._path = path
        self._heard = heard
        self._descriptor: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def hang(self) -> bool:
        """False when there can be none: a file system or an event loop that knows nothing of the kind."""
        loop = asyncio.get_running_loop()
        try:
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._path, 0o600)
            # Open for both, so that it does not end whenever the last of the others has gone.
            descriptor = os.open(self._path, os.O_RDWR | os.O_NONBLOCK)
        except (AttributeError, OSError):
            return False
        try:
            loop.add_reader(descriptor, self._listen)
        except NotImplementedError:
            os.close(descriptor)
            self._path.unlink(missing_ok=True)
            return False
        self._loop, self._descriptor = loop, descriptor
        return True

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None and self._loop is not None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)

    def drop(self) -> None:
        """In a forked child: it is the parent's."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _listen(self) -> None:
        assert self._descriptor is not None
        try:
            rung = os.read(self._descriptor, _READ)
        except BlockingIOError:
            return
        lines = set(rung.split(b"\n")[:-1])
        if b"*" in lines or len(rung) > _MAYBE_FULL:
            self._heard("", ())
            return
        for line in lines:
            run_id, _, types = line.decode("ascii", "replace").partition(" ")
            self._heard(run_id, tuple(types.split(",")) if types else ())


class OthersBells:
    """The bells of the other processes, by name.  ``died`` is called when one of them has gone."""

    def __init__(self, folder: Path, died: Callable[[], None]) -> None:
        self._folder = folder
        self._died = died
        self._open: dict[str, int] = {}

    def find(self, names: Iterable[str]) -> None:
        """Look for the bells of processes that are new here, and tell those that something may have been written."""
        for name in names:
            if name not in self._open and (descriptor := _open(bell_of(self._folder / name))) is not None:
                self._open[name] = descriptor
                # Nobody writes to this end, but who can no longer read from the other shows here.
                asyncio.get_running_loop().add_reader(descriptor, self._forget, name)
                self._ring(name, descriptor, _ANYTHING)

    def ring(self, notices: Iterable[Notice], *, brief: frozenset[str]) -> None:
        """Tell all of them of what was committed; of ``brief`` events, only which run they are of."""
        texts = _texts(notices, brief) if self._open else ()
        for name, descriptor in tuple(self._open.items()):
            for text in texts:
                self._ring(name, descriptor, text)

    def close(self) -> None:
        for name in tuple(self._open):
            self._drop(name)

    def drop(self) -> None:
        """In a forked child: they are the parent's."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _ring(self, name: str, descriptor: int, text: bytes) -> None:
        try:
            os.write(descriptor, text)
        except BlockingIOError:
            pass  # it is full: who empties it will see that it was
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            self._forget(name)

    def _forget(self, name: str) -> None:
        if name in self._open:
            self._drop(name)
            self._died()

    def _drop(self, name: str) -> None:
        descriptor = self._open.pop(name)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


def _open(path: Path) -> int | None:
    """For writing; None when nobody listens there, or it is no bell."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return descriptor


def _texts(notices: Iterable[Notice], brief: frozenset[str]) -> list[bytes]:
    """In pieces that are written whole or not at all."""
    told: dict[str, dict[str, None]] = {}
    for run_id, types in notices:
        told.setdefault(run_id, {}).update(dict.fromkeys(kind for kind in types if kind not in brief))
    texts: list[bytes] = [b""]
    for run_id, kinds in told.items():
        line = f"{run_id} {','.join(kinds)}\n".encode()
        if len(texts[-1]) + len(line) > _MOST_AT_ONCE:
            texts.append(b"")
        texts[-1] += line if len(line) <= _MOST_AT_ONCE else _ANYTHING
    return texts
