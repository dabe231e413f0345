"""Keys: what a use of a step, a wait or a nested workflow is called within its run.

A key is a path of ids, ``enrich[3]/poll#1``: item 3 of ``enrich``, a nested workflow, and in it iteration 1 of
``poll``.  Items count from 0; iterations, and repeated names of an imperative program, from 1.
"""

from __future__ import annotations


def of_item(key: str, index: int) -> str:
    return f"{key}[{index}]"


def of_iteration(key: str, number: int) -> str:
    return f"{key}#{number}"


def scope_of(key: str) -> str:
    """The prefix that all keys of the same scope have: ``enrich[3]/``; empty for the run's own."""
    return key[: key.rfind("/") + 1]


def id_of(key: str) -> str:
    """The id that the last part of the key was made of."""
    part = key[key.rfind("/") + 1 :]
    if part.endswith("]"):
        return part[: part.rfind("[")]
    number = part.rfind("#")
    return part if number < 0 else part[:number]


def index_of(key: str) -> int | None:
    """Which item it is."""
    return int(key[key.rfind("[") + 1 : -1]) if key.endswith("]") else None


def iteration_of(key: str) -> int | None:
    """Which iteration, or which use of a repeated name, it is."""
    number = key.rfind("#")
    return int(key[number + 1 :]) if number > key.rfind("/") else None


def path_of(prefix: str) -> list[str]:
    """The ids of the nested workflows that a prefix leads through."""
    return [id_of(part) for part in prefix.split("/") if part]
