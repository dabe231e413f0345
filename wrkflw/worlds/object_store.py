"""Blobs as objects of a bucket: S3 and what speaks like it, Google Cloud, Azure.  Needs ``wrkflw[blob]``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from wrkflw.world.errors import StoreRefusedError

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore


class ObjectBlobs:
    """Blobs in an obstore ``store``, whose prefix belongs to one database alone.

    Credentials and region are obstore's matter: it reads those of the cloud's own tools from the environment.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put(self, name: str, data: bytes, /) -> None:
        with suppress(FileNotFoundError):
            if self._store.head(name)["size"] == len(data):
                return
        self._store.put(name, data)

    def get(self, name: str, /) -> bytes:
        return bytes(self._store.get(name).bytes())

    def delete(self, name: str, /) -> None:
        with suppress(FileNotFoundError):
            self._store.delete(name)

    def list(self) -> Iterator[tuple[str, datetime]]:
        pages: Iterable[Sequence[ObjectMeta]] = self._store.list()  # pyright: ignore[reportUnknownMemberType]
        for page in pages:
            for found in page:
                yield found["path"], found["last_modified"]


def object_blobs_at(url: str) -> ObjectBlobs:
    """Raises StoreRefusedError when the URL names no store, or ``wrkflw[blob]`` is not installed."""
    try:
        from obstore.exceptions import BaseError  # noqa: PLC0415  # an extra
        from obstore.store import from_url  # noqa: PLC0415
    except ImportError as error:
        raise StoreRefusedError(f"{url!r} needs obstore; install wrkflw[blob]") from error
    try:
        return ObjectBlobs(from_url(url))
    except BaseError as error:
        reason = str(error).partition("\n")[0]
        raise StoreRefusedError(f"{url!r} is no blob store: {reason}; use 's3://bucket/prefix'") from error
