"""A layer between SQLite and the operating system: every file operation of the shipped driver passes through it.

It is a VFS (https://sqlite.org/vfs.html) made with ctypes in the very library that :mod:`sqlite3` uses.  All of it is
the system's own but opening, reading, writing, cutting, syncing and deleting, which ask a :class:`Guard` first.  So
pager, log, locks and shared memory are real, a refusal reaches SQLite as the code it would get, and SQLite decides what
becomes of it.  (A driver of its own, with a VFS in Python, raises what SQLite had already coped with.)
"""

from __future__ import annotations

import _sqlite3
import ctypes
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_void_p, cast, sizeof
from pathlib import Path
from typing import Any, Protocol, TypeAlias

Call: TypeAlias = Callable[..., int]
"""A function in C."""

OK = 0
IOERR_READ = 10 | 1 << 8
IOERR_WRITE = 10 | 3 << 8
IOERR_FSYNC = 10 | 4 << 8
IOERR_TRUNCATE = 10 | 6 << 8
IOERR_DELETE = 10 | 10 << 8
FULL = 13
CANTOPEN = 14

_OPEN_CREATE = 0x4


class Guard(Protocol):
    """Asked before each operation on a file; ``name`` is the file's.  Anything but OK is what SQLite gets instead.

    Nothing may be raised: there is nobody above who could catch it.
    """

    def create(self, name: str) -> int: ...
    def read(self, name: str) -> int: ...
    def write(self, name: str, offset: int, data: bytes) -> tuple[int, int]:
        """How many of the bytes are to be written, and what SQLite is told then."""
        ...

    def truncate(self, name: str, size: int) -> int: ...
    def sync(self, name: str) -> int:
        """What is synced really is for the guard to know: nothing is, the disk of these tests is imagined."""
        ...

    def delete(self, name: str) -> int: ...

    def done(self) -> None:
        """The operation that was asked for last has been done."""


# --- what sqlite3.h declares ---------------------------------------------------------------------------

_CLOSE = CFUNCTYPE(c_int, c_void_p)
_READ = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_WRITE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)
# Paths stay pointers: SQLite and the system's VFS keep them, and read what stands behind.
_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
_DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)


class _Methods(Structure):
    """``sqlite3_io_methods``, version 3."""

    _fields_ = [
        ("iVersion", c_int),
        ("xClose", c_void_p), ("xRead", c_void_p), ("xWrite", c_void_p), ("xTruncate", c_void_p), ("xSync", c_void_p),
        ("xFileSize", c_void_p), ("xLock", c_void_p), ("xUnlock", c_void_p), ("xCheckReservedLock", c_void_p),
        ("xFileControl", c_void_p), ("xSectorSize", c_void_p), ("xDeviceCharacteristics", c_void_p),
        ("xShmMap", c_void_p), ("xShmLock", c_void_p), ("xShmBarrier", c_void_p), ("xShmUnmap", c_void_p),
        ("xFetch", c_void_p), ("xUnfetch", c_void_p),
    ]  # fmt: skip


class _File(Structure):
    """``sqlite3_file``, as far as it is public."""

    _fields_ = [("pMethods", c_void_p)]


class _Vfs(Structure):
    """``sqlite3_vfs``, version 3."""

    _fields_ = [
        ("iVersion", c_int), ("szOsFile", c_int), ("mxPathname", c_int),
        ("pNext", c_void_p), ("zName", c_char_p), ("pAppData", c_void_p),
        ("xOpen", c_void_p), ("xDelete", c_void_p), ("xAccess", c_void_p), ("xFullPathname", c_void_p),
        ("xDlOpen", c_void_p), ("xDlError", c_void_p), ("xDlSym", c_void_p), ("xDlClose", c_void_p),
        ("xRandomness", c_void_p), ("xSleep", c_void_p), ("xCurrentTime", c_void_p), ("xGetLastError", c_void_p),
        ("xCurrentTimeInt64", c_void_p),
        ("xSetSystemCall", c_void_p), ("xGetSystemCall", c_void_p), ("xNextSystemCall", c_void_p),
    ]  # fmt: skip


def _library() -> ctypes.CDLL | None:
    """The SQLite that the driver is linked to; None where its functions cannot be reached."""
    try:
        library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
        library.sqlite3_vfs_find.argtypes = [c_char_p]
        library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        library.sqlite3_vfs_register.argtypes = [c_void_p, c_int]
    except (OSError, AttributeError):
        return None
    return library


# --- the layer -----------------------------------------------------------------------------------------


class Layer:
    """Made once in a process, and never taken away: SQLite keeps pointers into it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._base: _Vfs = library.sqlite3_vfs_find(None).contents
        self._guard: Guard | None = None
        self._folder = ""
        self._names: dict[int, str] = {}
        """Of the files that are open, by where SQLite keeps them."""
        self._methods: dict[int, _Methods] = {}
        """Ours for each set of the system's."""
        self._vfs = _Vfs.from_buffer_copy(self._base)
        self._vfs.zName, self._vfs.pNext = b"guarded", None
        self._open_below: Call = _OPEN(self._base.xOpen)
        self._delete_below: Call = _DELETE(self._base.xDelete)
        self._kept: list[Any] = []
        self._vfs.xOpen = self._callback(_OPEN, self._open)
        self._vfs.xDelete = self._callback(_DELETE, self._delete)
        library.sqlite3_vfs_register(ctypes.addressof(self._vfs), 0)

    @contextmanager
    def guarding(self, folder: Path, guard: Guard) -> Generator[None]:
        """Within: connections that are opened to files in ``folder`` are guarded."""
        self._guard, self._folder = guard, f"{folder}{os.sep}"
        self._library.sqlite3_vfs_register(ctypes.addressof(self._vfs), 1)
        try:
            yield
        finally:
            self._library.sqlite3_vfs_register(ctypes.addressof(self._base), 1)
            self._guard = None

    def _callback(self, kind: Callable[..., Any], function: Call) -> int | None:
        callback = kind(function)
        self._kept.append(callback)
        return cast(callback, c_void_p).value

    def _guarded(self, path: int | None) -> str | None:
        """The name of a file that is guarded."""
        name = "" if path is None else os.fsdecode(ctypes.string_at(path))
        if self._guard is None or not name.startswith(self._folder):
            return None
        return name.removeprefix(self._folder)

    def _open(self, _vfs: int, path: int | None, file: int, flags: int, out: Any) -> int:
        name = self._guarded(path)
        guard, made = self._guard, False
        if guard is not None and name is not None and flags & _OPEN_CREATE:
            made = not os.path.exists(self._folder + name)
            if made and (code := guard.create(name)) != OK:
                _File.from_address(file).pMethods = None  # else SQLite would close it
                return code
        code = self._open_below(ctypes.addressof(self._base), path, file, flags, out)
        if guard is not None and name is not None and code == OK:
            opened = _File.from_address(file)
            opened.pMethods = ctypes.addressof(self._over(opened.pMethods))
            self._names[file] = name
            if made:
                guard.done()
        return code

    def _delete(self, _vfs: int, path: int, sync_folder: int) -> int:
        guard, name = self._guard, self._guarded(path)
        if guard is None or name is None:
            return self._delete_below(ctypes.addressof(self._base), path, sync_folder)
        if os.path.exists(self._folder + name) and (code := guard.delete(name)) != OK:
            return code
        code = self._delete_below(ctypes.addressof(self._base), path, 0)
        guard.done()
        return code

    def _over(self, address: int) -> _Methods:
        """The methods at this address, with ours over them."""
        if address in self._methods:
            return self._methods[address]
        below = _Methods.from_address(address)
        methods = self._methods[address] = _Methods.from_buffer_copy(below)
        close: Call = _CLOSE(below.xClose)
        read: Call = _READ(below.xRead)
        write: Call = _WRITE(below.xWrite)
        truncate: Call = _TRUNCATE(below.xTruncate)

        def on_close(file: int) -> int:
            self._names.pop(file, None)
            return close(file)

        def on_read(file: int, into: int, size: int, offset: int) -> int:
            if self._guard is not None and (code := self._guard.read(self._names[file])) != OK:
                return code
            return read(file, into, size, offset)

        def on_write(file: int, data: int, size: int, offset: int) -> int:
            if self._guard is None:
                return write(file, data, size, offset)
            kept, code = self._guard.write(self._names[file], offset, ctypes.string_at(data, size))
            written = write(file, data, kept, offset) if kept else OK
            if code == OK:
                self._guard.done()
            return code or written

        def on_truncate(file: int, size: int) -> int:
            if self._guard is None:
                return truncate(file, size)
            if (code := self._guard.truncate(self._names[file], size)) != OK:
                return code
            code = truncate(file, size)
            self._guard.done()
            return code

        def on_sync(file: int, _flags: int) -> int:
            if self._guard is not None:
                if (code := self._guard.sync(self._names[file])) != OK:
                    return code
                self._guard.done()
            return OK

        methods.xClose = self._callback(_CLOSE, on_close)
        methods.xRead = self._callback(_READ, on_read)
        methods.xWrite = self._callback(_WRITE, on_write)
        methods.xTruncate = self._callback(_TRUNCATE, on_truncate)
        methods.xSync = self._callback(_SYNC, on_sync)
        return methods


_found = _library()
LAYER = None if _found is None else Layer(_found)
"""None where the functions of the driver's SQLite cannot be reached."""

assert sizeof(_File) == sizeof(c_void_p)
