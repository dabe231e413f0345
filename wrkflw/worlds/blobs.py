"""Blobs as files of one folder, each readable by its owner alone."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from wrkflw.world.errors import StoreRefusedError
from wrkflw.world.payloads import BlobStore

_NAME = re.compile(r"[0-9a-z-]{1,128}(\.[0-9a-f]{16})?")
"""A blob, or one that is still being written.  Nothing that leads out of the folder."""
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class FileBlobs:
    """Blobs in ``folder``, which is made if need be, in a folder that exists; it belongs to one database alone.

    A blob is written beside its name and takes the name when it is on the disk, so that no reader meets half of one.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder).absolute()

    def put(self, name: str, data: bytes, /) -> None:
        path = self._path(name)
        self._make_folder()
        if not self._has(path, len(data)):
            unfinished = self._path(f"{name}.{secrets.token_hex(8)}")
            try:
                _write(unfinished, data)
                unfinished.replace(path)
            except BaseException:
                with suppress(OSError):
                    unfinished.unlink()
                raise
        sync_folder(self._folder)  # also when it was there: who wrote it may not have come to this yet

    def get(self, name: str, /) -> bytes:
        with open(os.open(self._path(name), os.O_RDONLY | _SAFELY), "rb") as file:
            return file.read()

    def delete(self, name: str, /) -> None:
        self._path(name).unlink(missing_ok=True)

    def list(self) -> Iterator[tuple[str, datetime]]:
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):  # deleted meanwhile
                        written = entry.stat(follow_symlinks=False).st_mtime
                        yield entry.name, datetime.fromtimestamp(written, UTC)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:80]!r} cannot be the name of a blob; use digits, small letters and '-'")
        return self._folder / name

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(0o700)
        except FileExistsError:
            return
        sync_folder(self._folder.parent)

    def _has(self, path: Path, size: int) -> bool:
        """A blob that is too short is written anew: it was damaged."""
        try:
            found = path.lstat()
        except FileNotFoundError:
            return False
        return found.st_size == size and path.is_file() and not path.is_symlink()


def blobs_at(url: str) -> BlobStore:
    """The store that a URL names: ``file:///path/to/folder``, or ``s3://bucket/prefix`` and its like with ``obstore``.

    Raises StoreRefusedError for a URL that names none.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path and parts.netloc in ("", "localhost"):
        return FileBlobs(unquote(parts.path))
    if parts.scheme in ("", "file"):
        raise StoreRefusedError(f"{url!r} is no blob store; use 'file:///path/to/folder' or 's3://bucket/prefix'")
    from .object_store import object_blobs_at  # noqa: PLC0415  # an extra, which few have

    return object_blobs_at(url)


def _write(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk.  Windows does so by itself, and cannot open one."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
