"""All checks, in the order of the chapters."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from .chapters import (
    answers,
    arguments,
    attributes,
    bad_input,
    batches,
    cursors,
    dead_letters,
    due_runs,
    guards,
    hooks,
    lifecycle,
    log,
    message_keys,
    namespaces,
    ownership,
    pages,
    payloads,
    queue,
    readers,
    reads,
    retention,
    runs,
    schedules,
    signals_and_waits,
    steps,
    streams,
    writers,
)
from .checks import Check

CHAPTERS: tuple[ModuleType, ...] = (
    runs, guards, log, batches, ownership, due_runs, steps, hooks, answers, signals_and_waits, attributes, pages, reads,
    namespaces, payloads, streams, readers, queue, message_keys, dead_letters, writers, retention, schedules, cursors,
    lifecycle, bad_input, arguments,
)  # fmt: skip


def _checks_of(chapter: ModuleType) -> Iterator[Check]:
    for name, value in vars(chapter).items():
        if isinstance(value, Check):
            yield value
        elif name == "CHECKS":
            yield from value


CHECKS: tuple[Check, ...] = tuple(check for chapter in CHAPTERS for check in _checks_of(chapter))
"""Every promise of the contract that can be looked at from outside."""
