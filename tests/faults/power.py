"""Power cuts: what the disk may hold when the power fails at any point of a life that was written down.

Until a file is synced, each 512-byte sector of what was written to it may be there or not, or be garbage, and cuts of
the file may have happened or not; whatever was synced is there.  That a file was made or deleted counts as durable at
once, and nothing else on the disk is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from typing import TypeAlias

from wrkflw.worlds.sqlite import Durability

from . import judging, virtual
from .disk import Change, Disk
from .playing import DATABASE, live, prepare
from .scenarios import Scenario
from .stage import Fact, Witness

SECTOR = 512

Files: TypeAlias = dict[str, bytes]
Pending: TypeAlias = dict[str, list[Change]]


@dataclass
class Trace:
    """A whole life: what was on the disk before, what was done to it, and when each fact was told."""

    before: Files
    changes: list[Change]
    facts: list[Fact]
    told_at: list[int]
    """How many changes there had been when each fact was told."""

    def told_before(self, cut: int) -> list[Fact]:
        return [fact for fact, at in zip(self.facts, self.told_at, strict=True) if at <= cut]


def trace(scenario: Scenario, folder: Path, template: Path, durability: Durability = "full") -> Trace:
    """Play the scenario on a disk that does not fail, and write everything down."""
    prepare(scenario, folder, template)
    database = folder / DATABASE
    before = {DATABASE: database.read_bytes()} if database.exists() else {}
    disk, told_at = Disk(record=True), list[int]()
    witness = Witness(disk, on_fact=lambda: told_at.append(len(disk.changes)))
    end = live(scenario, folder, witness, virtual.Clock(), heals=False, durability=durability)
    assert end is None, end
    return Trace(before, disk.changes, witness.facts, told_at)


# --- what may be left ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Image:
    """What a power cut behind so many changes left, in one of the ways there are."""

    number: int
    cut: int
    way: str
    files: Files = field(repr=False)


def images(trace: Trace, seed: int) -> Iterator[Image]:
    """Images without end, at random cuts, in one way after another; each depends on the seed and its number alone.

    None comes twice, so numbers may be missing.
    """
    states, seen, ways = list(states_of(trace)), set[int](), list(WAYS.items())
    for number in count():
        chance = Random(f"{seed}/{number}")
        cut, (name, way) = chance.randrange(len(states)), ways[number % len(ways)]
        files = way(*states[cut], chance)
        known = hash((cut, *sorted(files.items())))
        if known not in seen:
            seen.add(known)
            yield Image(number, cut, name, files)


def states_of(trace: Trace) -> Iterator[tuple[Files, Pending]]:
    """What is durable, and what is pending for each file, before the first change and after each."""
    durable, pending = dict(trace.before), Pending()
    yield durable, pending
    for change in trace.changes:
        name = change.name
        durable, pending = {name: b"", **durable}, dict(pending)
        match change.kind:
            case "delete":
                del durable[name]
                pending.pop(name, None)
            case "sync":
                durable[name] = applied(durable[name], pending.pop(name, []))
            case "write" | "truncate":
                pending[name] = [*pending.get(name, []), change]
            case _:
                pass
        yield durable, pending


def applied(content: bytes, changes: list[Change]) -> bytes:
    if not changes:
        return content
    data = bytearray(content)
    for change in changes:
        if change.kind == "truncate":
            del data[change.offset :]
        data.extend(bytes(max(change.offset - len(data), 0)))
        data[change.offset : change.offset + len(change.data)] = change.data
    return bytes(data)


Way: TypeAlias = Callable[[Files, Pending, Random], Files]


def _nothing(durable: Files, _pending: Pending, _chance: Random) -> Files:
    return durable


def _everything(durable: Files, pending: Pending, _chance: Random) -> Files:
    return {name: applied(content, pending.get(name, [])) for name, content in durable.items()}


def _prefix(durable: Files, pending: Pending, chance: Random) -> Files:
    """Of each file what came first."""
    return {name: applied(content, _first(pending.get(name, []), chance)) for name, content in durable.items()}


def _first(changes: list[Change], chance: Random) -> list[Change]:
    return changes[: chance.randint(0, len(changes))]


def _sectors(durable: Files, pending: Pending, chance: Random) -> Files:
    """Any sectors of what was written."""
    kept = chance.random()
    return {
        name: applied(content, [piece for piece in _pieces(pending.get(name, [])) if chance.random() < kept])
        for name, content in durable.items()
    }


def _garbage(durable: Files, pending: Pending, chance: Random) -> Files:
    """The same, and some of them hold what nobody wrote."""
    files: Files = {}
    for name, content in durable.items():
        pieces: list[Change] = []
        for piece in _pieces(pending.get(name, [])):
            fate = chance.random()
            if fate < 0.2 and piece.kind == "write":
                pieces.append(Change("write", name, piece.offset, chance.randbytes(len(piece.data))))
            elif fate < 0.7:
                pieces.append(piece)
        files[name] = applied(content, pieces)
    return files


def _pieces(changes: list[Change]) -> Iterator[Change]:
    """The changes in sectors, which are written one by one."""
    for change in changes:
        if change.kind == "truncate":
            yield change
            continue
        start, end = change.offset, change.offset + len(change.data)
        while start < end:
            stop = min(start - start % SECTOR + SECTOR, end)
            yield Change("write", change.name, start, change.data[start - change.offset : stop - change.offset])
            start = stop


WAYS: dict[str, Way] = {
    "nothing pending": _nothing,
    "all pending": _everything,
    "prefix": _prefix,
    "sectors": _sectors,
    "garbage": _garbage,
}


# --- what is found -------------------------------------------------------------------------------------


def found_in(image: Image, folder: Path) -> judging.Found:
    """Switch the machine on again: real SQLite opens what is left."""
    for old in folder.glob(f"{DATABASE}*"):
        old.unlink()
    for name, content in image.files.items():
        (folder / name).write_bytes(content)
    return judging.found_in(folder / DATABASE)
