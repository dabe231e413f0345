"""Large payloads: kept once, under the hash of what is stored, in the database or in a blob store.

The row of a large payload holds its bytes, or says that the blob store does.  Bytes come and go in the transactions of
the events that refer to them.  A blob is durable before the transaction that refers to it.  Its row is made before the
blob, in a transaction of its own, so that the collector knows of it; and the transaction that refers to it looks at the
row again: if the collector took it meanwhile, the bytes go into the row.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple, get_args

from wrkflw.clock import Clock, to_microseconds
from wrkflw.errors import StoreError
from wrkflw.world import events as e
from wrkflw.world.errors import DamagedPayloadError, PayloadTooLargeError, RunExpiredError, WorkflowRunNotFoundError
from wrkflw.world.payloads import PAYLOAD_MAX, BlobStore, PayloadCodec, Place
from wrkflw.worlds.writer import Writer

from . import compiled as sql
from . import rows
from .database import Connection, Reads, Row
from .sealing import Part, Reading, Sealing

_IN_A_THREAD = 256 * 1024
"""Bytes from which hashing and encoding would keep the loop for too long."""
_FIELDS: dict[type[e.NewEvent], str | None] = {cls: cls.payload for cls in get_args(get_args(e.NewEvent)[0])}
_NOWHERE = b""
"""In place of the bytes where there is no row."""
_REF = 6
"""The column of the reference, in every statement that reads the log."""


class PayloadOptions(NamedTuple):
    """How a World keeps payloads: ``largest`` are refused past it, ``inline_max`` stand in their event up to it."""

    inline_max: int
    largest: int
    codec: PayloadCodec | None
    blobs: BlobStore | None


class Large(NamedTuple):
    """A large payload as it will be stored."""

    sha256: str
    stored: bytes
    in_store: bool
    """Whether the blob store has it."""


class LargePayloads:
    """``read`` is where rows are looked up outside of transactions."""

    def __init__(self, writer: Writer, read: Reads, namespace: str, clock: Clock, options: PayloadOptions) -> None:
        self.options = options
        self.largest_beside = max(options.largest, PAYLOAD_MAX)
        """Characters of what stands beside a payload: state, mostly.  A pause must be able to say what was too much."""
        self._unremarkable = min(options.inline_max, options.largest)
        self.namespace = namespace
        self.sealing = Sealing(namespace, options.codec)
        self.without = Reading(self.sealing, None)
        """Reads rows and leaves their payloads."""
        self._writer = writer
        self._read = read
        self._clock = clock
        self._plain = self.reading(read)

    # --- before the transaction --------------------------------------------------------------------

    def large_among(self, run_id: str, events: Iterable[e.NewEvent]) -> list[bytes]:
        """The payloads that do not stand in their events.  Raises PayloadTooLargeError."""
        found: list[bytes] = []
        unremarkable = self._unremarkable
        for event in events:
            field = _FIELDS[event.__class__]
            if field is None:
                if not isinstance(event, e.RunStarted) or event.creation is None:
                    continue
                event, field = event.creation, "input"  # noqa: PLW2901  # it is what the event carries
            payload = event.__dict__[field]
            if payload is not None and len(payload) > unremarkable:
                self.check_size(run_id, field, payload)
                if len(payload) > self.options.inline_max:
                    found.append(payload)
        return found

    def check_size(self, run_id: str, field: str, payload: bytes) -> None:
        largest = self.options.largest
        if field == "error":  # a run must be able to say that something was too large
            largest = max(largest, PAYLOAD_MAX)
        if len(payload) > largest:
            raise PayloadTooLargeError(run_id, field, len(payload), largest)

    async def keep_ahead(self, payloads: Sequence[bytes]) -> dict[bytes, Large]:
        """The large payloads as they will be stored; what goes to the blob store is durable there.

        Raises StoreError when a blob cannot be written.
        """
        large: dict[bytes, Large] = {}
        for payload in dict.fromkeys(payloads):
            encode = self._as_stored
            stored, name = await asyncio.to_thread(encode, payload) if len(payload) > _IN_A_THREAD else encode(payload)
            if len(stored) > self.options.inline_max:  # else it was compressed, and stands in its event
                large[payload] = Large(name, stored, in_store=False)
        if self.options.blobs is None or not large:
            return large
        wanted = await self._writer.submit(lambda connection: self._reserve(connection, large.values()))
        await asyncio.gather(*(self._put(one) for one in {one.sha256: one for one in wanted}.values()))
        names = {one.sha256 for one in wanted}
        return {payload: one._replace(in_store=one.sha256 in names) for payload, one in large.items()}

    def _as_stored(self, payload: bytes) -> tuple[bytes, str]:
        stored = payload if self.options.codec is None else self.sealing.encode(payload, Place(self.namespace))
        return stored, sha256(stored).hexdigest()

    def _reserve(self, connection: Connection, large: Iterable[Large]) -> list[Large]:
        """Announce the blobs that are to be written: not those whose row has the bytes, nor those being deleted."""
        now, wanted = to_microseconds(self._clock.now()), list[Large]()
        for one in large:
            row = _row_of(connection, self.namespace, one)
            if row is None or not (row.has_bytes or row.doomed):
                _write(connection, self.namespace, one, None, now)
                wanted.append(one)
        return wanted

    async def _put(self, large: Large) -> None:
        assert self.options.blobs is not None
        try:
            await asyncio.to_thread(self.options.blobs.put, blob_name(self.namespace, large.sha256), large.stored)
        except Exception as error:
            raise StoreError(f"a payload could not be written to the blob store: {error}; try again") from error

    # --- reading -----------------------------------------------------------------------------------

    def reading(self, connection: Reads) -> Reading:
        """Reads rows with their payloads, inside of a transaction too.  For few of them: each is fetched alone."""

        def large_of(name: str, part: Part) -> bytes:
            stored = self._in_database(connection, [name]).get(name, _NOWHERE)
            return self._verified(name, part, stored if stored else self._from_store(name, part, stored))

        return Reading(self.sealing, large_of)

    async def read_ahead(self, run_id: str, found: Sequence[Row]) -> Reading:
        """Reads these rows with their payloads; what is in the blob store is fetched now, beside the loop."""
        parts = {row[_REF]: (run_id, f"slot {row[0]}") for row in found if row[_REF] is not None}
        if not parts:
            return self._plain
        stored = self._in_database(self._read, list(parts))
        at_hand = {name: self._verified(name, parts[name], data) for name, data in stored.items() if data}

        async def fetch(name: str) -> None:
            try:
                got = await asyncio.to_thread(self._from_store, name, parts[name], stored.get(name, _NOWHERE))
            except DamagedPayloadError:
                self._check_kept(run_id)
                raise
            at_hand[name] = self._verified(name, parts[name], got)

        await asyncio.gather(*(fetch(name) for name in parts if name not in at_hand))
        return Reading(self.sealing, lambda name, _: at_hand[name])

    def _check_kept(self, run_id: str) -> None:
        """Raises RunExpiredError, WorkflowRunNotFoundError: it may have lost what it held since its rows were read."""
        row = self._read.one(sql.RUN_EXPIRED_AT, run_id=run_id)
        if row is None:
            raise WorkflowRunNotFoundError(run_id)
        if (expired_at := rows.moment(row[1])) is not None:
            raise RunExpiredError.purged(run_id, row[0], expired_at)

    def _in_database(self, connection: Reads, names: Sequence[str]) -> dict[str, bytes | None]:
        """None for what the blob store has."""
        found = connection.all(sql.PAYLOADS_NAMED, namespace=self.namespace, names=json.dumps(names))
        return {row[0]: row[1] for row in found}

    def _from_store(self, name: str, part: Part, row: bytes | None) -> bytes:
        """Raises DamagedPayloadError for what is not there, StoreError when nothing can be said."""
        run_id, what = part
        blobs = self.options.blobs
        if blobs is None and row is None:
            raise StoreError(f"{what} of run {run_id!r} is kept in a blob store; open the world with its blobs=")
        if blobs is None:
            raise DamagedPayloadError(run_id, what, f"payload {name!r} is missing")
        try:
            return blobs.get(blob_name(self.namespace, name))
        except FileNotFoundError as error:
            raise DamagedPayloadError(run_id, what, f"blob {name!r} is missing") from error
        except Exception as error:
            raise StoreError(f"{what} of run {run_id!r} could not be read: {error}; try again") from error

    def _verified(self, name: str, part: Part, stored: bytes) -> bytes:
        if sha256(stored).hexdigest() != name:
            raise DamagedPayloadError(*part, f"what is kept as {name!r} does not have this hash")
        return stored


class _Row(NamedTuple):
    doomed: bool
    """Whether the collector is about to delete the blob."""
    has_bytes: bool
    """Whether the bytes stand here, and not in the blob store."""


def keep(connection: Connection, namespace: str, large: Iterable[Large], now: int) -> None:
    """In the transaction whose events refer to them: see to it that the payloads are there, and stay."""
    for one in large:
        row = _row_of(connection, namespace, one)
        if row is None or row.doomed or not (row.has_bytes or one.in_store):
            _write(connection, namespace, one, one.stored, now)


def release(connection: Connection, namespace: str, names: Collection[str]) -> int:
    """In the transaction whose events refer to them no longer: delete what no other event refers to; how many.

    Blobs stay until the collector comes: somebody may be about to refer to them.
    """
    return connection.run(sql.PAYLOADS_RELEASE, namespace=namespace, names=json.dumps([*names])) if names else 0


def _row_of(connection: Connection, namespace: str, large: Large) -> _Row | None:
    row = connection.one(sql.PAYLOAD_STATE, namespace=namespace, sha256=large.sha256)
    return None if row is None else _Row(bool(row[0]), bool(row[1]))


def _write(connection: Connection, namespace: str, large: Large, stored: bytes | None, now: int) -> None:
    row = (namespace, large.sha256, len(large.stored), now, 0, stored)
    connection.many(sql.PAYLOAD_WRITE, [row])


def blob_name(namespace: str, name: str) -> str:
    """What a large payload is called in the blob store: those of two namespaces never meet."""
    return f"{sha256(namespace.encode()).hexdigest()[:16]}-{name}"
