"""Hooks, waits, signals and streams against the log: what the crash oracle does not read, by a fold of its own."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.crash.oracle import rows_of

Row: TypeAlias = Mapping[str, Any]

_ENDS = ("run_completed", "run_failed", "run_cancelled")


@dataclass
class Views:
    """What one run has besides steps, as its log adds it up."""

    ended: bool = False
    payloads: dict[int, int] = field(default_factory=dict)
    """How many each hook was given, by the slot that created it."""
    disposed: set[int] = field(default_factory=set)
    matched: dict[int, int | None] = field(default_factory=dict)
    """The signal each wait took, by slots; None while it waits."""
    over: set[int] = field(default_factory=set)
    """Waits that ended by themselves."""
    queued: defaultdict[str, deque[int]] = field(default_factory=lambda: defaultdict(deque))
    lines: defaultdict[str, deque[int]] = field(default_factory=lambda: defaultdict(deque))
    """Waits that stand in line for a signal, by its type."""


def wrong_in(connection: sqlite3.Connection) -> Iterator[str]:
    """Where the views do not say what the log says, and what may never be."""
    logs: defaultdict[int, list[Row]] = defaultdict(list)
    for event in rows_of(connection, "SELECT * FROM events ORDER BY run_no, slot"):
        logs[event["run_no"]].append(event)
    folded = {number: fold(log) for number, log in logs.items()}
    for hook in rows_of(connection, "SELECT * FROM hooks"):
        yield from _judge_hook(folded[hook["run_no"]], hook)
    for wait in rows_of(connection, "SELECT * FROM waits"):
        yield from _judge_wait(folded[wait["run_no"]], wait)
    found = Counter((row["run_no"], row["slot"]) for row in rows_of(connection, "SELECT * FROM signals"))
    queued = Counter(
        (number, slot)
        for number, views in folded.items()
        if not views.ended
        for queue in views.queued.values()
        for slot in queue
    )
    if queued - found:
        yield f"signals that nobody took are not kept: {sorted(queued - found)}"
    tokens = Counter(row["token"] for row in rows_of(connection, "SELECT token FROM hooks WHERE released_slot IS NULL"))
    yield from (f"token {token!r} is live {count} times" for token, count in tokens.items() if count > 1)
    yield from _judge_streams(connection, logs)


def fold(log: list[Row]) -> Views:
    views = Views()
    for event in log:
        slot, about = event["slot"], event["subject"]
        match event["event_type"]:
            case "hook_created":
                views.payloads[slot] = 0
            case "hook_received":
                views.payloads[about] = views.payloads.get(about, 0) + 1
            case "hook_disposed":
                views.disposed.add(about)
            case "wait_created":
                _wait(views, slot, json.loads(event["data"]).get("signal_type"))
            case "wait_completed":
                views.over.add(about)
                for line in views.lines.values():
                    if about in line:
                        line.remove(about)
            case "signal_received":
                _signal(views, slot, json.loads(event["data"])["signal_type"])
            case kind if kind in _ENDS:
                views.ended = True
            case _:
                pass
    return views


def _wait(views: Views, slot: int, wanted: str | None) -> None:
    views.matched[slot] = None
    if wanted is not None and views.queued[wanted]:
        views.matched[slot] = views.queued[wanted].popleft()
    elif wanted is not None:
        views.lines[wanted].append(slot)


def _signal(views: Views, slot: int, kind: str) -> None:
    if views.lines[kind]:
        views.matched[views.lines[kind].popleft()] = slot
    else:
        views.queued[kind].append(slot)


def _judge_hook(views: Views, hook: Row) -> Iterator[str]:
    name, slot = f"hook {hook['hook_id']}", hook["created_slot"]
    if views.payloads.get(slot) != hook["payloads"]:
        yield f"{name} has {hook['payloads']} payloads, the log {views.payloads.get(slot)}"
    if hook["kind"] == "suspend" and hook["payloads"] > 1:
        yield f"{name} was answered {hook['payloads']} times"
    if (hook["released_slot"] is None) == (views.ended or slot in views.disposed):
        yield f"{name} is released at {hook['released_slot']}, its run has {'' if views.ended else 'not '}ended"


def _judge_wait(views: Views, wait: Row) -> Iterator[str]:
    name, slot = f"wait {wait['key']!r}", wait["created_slot"]
    if slot not in views.matched:
        yield f"{name} is in no log"
        return
    if wait["matched_slot"] != views.matched[slot]:
        yield f"{name} took the signal at {wait['matched_slot']}, by the log {views.matched[slot]}"
    over = views.ended or slot in views.over or views.matched[slot] is not None
    if wait["status"] == "waiting" and wait["matched_slot"] is None and over:
        yield f"{name} still waits, and is over by the log"
    if wait["status"] != "waiting" and not over:
        yield f"{name} waits no more, and is not over by the log"


def _judge_streams(connection: sqlite3.Connection, logs: Mapping[int, list[Row]]) -> Iterator[str]:
    chunks: defaultdict[tuple[int, str], list[Row]] = defaultdict(list)
    for chunk in rows_of(connection, "SELECT * FROM chunks ORDER BY run_no, stream, idx"):
        chunks[chunk["run_no"], chunk["stream"]].append(chunk)
    lengths = {(row["run_no"], row["stream"]): row["length"] for row in rows_of(connection, "SELECT * FROM streams")}
    for stream, kept in chunks.items():
        if [chunk["idx"] for chunk in kept] != list(range(len(kept))):
            yield f"stream {stream} has chunks {[chunk['idx'] for chunk in kept]}"
        if lengths.get(stream) != len(kept):
            yield f"stream {stream} has {len(kept)} chunks, and says {lengths.get(stream)}"
        if max(chunk["after_slot"] for chunk in kept) > len(logs[stream[0]]):
            yield f"stream {stream} has chunks behind the end of the log"
