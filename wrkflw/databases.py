"""The database that a URL names, and what a runtime tells the World it opens there."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from .clock import Clock
from .durations import FOREVER
from .engine.limits import Limits
from .settings import Settings
from .world import World
from .world.errors import StoreRefusedError
from .world.storage import Stamp

if TYPE_CHECKING:
    from .world.payloads import PayloadCodec

_SQLITE = "sqlite:///"


class WorldOptions(TypedDict):
    """What a World is opened with."""

    namespace: str
    durability: Literal["full", "normal"]
    clock: Clock
    lease: timedelta
    poll: timedelta
    max_events: int
    max_deliveries: int
    deployment_id: str
    stamp: Stamp
    payload_inline_max: int
    payload_max: int
    blobs: str | None
    retention: timedelta
    codec: PayloadCodec | None


def options_of(
    settings: Settings, limits: Limits, *, clock: Clock, lease: timedelta, codec: PayloadCodec | None
) -> WorldOptions:
    """What the settings, and the limits of the runtime, come to."""
    return {
        "namespace": settings.namespace,
        "durability": settings.durability,
        "clock": clock,
        "lease": lease,
        "poll": timedelta(seconds=settings.poll_seconds),
        "max_events": limits.events,
        "max_deliveries": settings.max_deliveries,
        "deployment_id": settings.deployment_id,
        "stamp": Stamp(settings.owner_id, settings.project_id, settings.environment),
        "payload_inline_max": settings.payload_inline_max,
        "payload_max": limits.value_bytes,
        "blobs": settings.blob_url,
        "retention": FOREVER if settings.retention_seconds is None else timedelta(seconds=settings.retention_seconds),
        "codec": codec,
    }


def world_at(url: str, **options: Unpack[WorldOptions]) -> World:
    """The World that a database URL names; nothing is opened yet.  Raises StoreRefusedError for an unknown kind."""
    path = path_of(url)
    from .worlds.sqlite import SqliteWorld  # noqa: PLC0415  # a World is loaded when one is opened

    return SqliteWorld(path, **options)


def path_of(url: str) -> str:
    """The path in a SQLite URL.  Raises StoreRefusedError for any other kind."""
    if url == ":memory:":
        return url
    path = url.removeprefix(_SQLITE)
    if url.startswith(_SQLITE) and "?" in path:
        raise StoreRefusedError(f"{url!r} has options, and a SQLite file takes none; leave out what is behind '?'")
    if url.startswith(_SQLITE) and path:
        return path
    shown = f"{url.partition('://')[0]}://…" if "@" in url else url  # there may be a password in it
    raise StoreRefusedError(
        f"{shown!r} is not a database this version knows; use 'sqlite:///path/to/file.db' or ':memory:'"
    )
