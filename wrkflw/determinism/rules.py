"""The table: what comes out otherwise each time it is called, and what to do instead."""

from __future__ import annotations

import builtins
import datetime
import inspect
import os
import pathlib
import random
import secrets
import time
import uuid
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from wrkflw.steps import Step
from wrkflw.workflows import Workflow


class MethodOf(NamedTuple):
    """A method of an instance that only the running code has, or that must not be touched."""

    kind: type[object]
    name: str


@dataclass(frozen=True, slots=True)
class Rule:
    """``why`` goes on from what is called; ``cure`` is for a program, whose ``step`` has what is missed."""

    why: str
    cure: str = "let a step do it"


_CLOCK = Rule("tells another time when the code runs again", "use 'step.now()'")
_CHANCE = Rule("gives something else when the code runs again", "use 'step.random()'")
_UUID = Rule("gives another one when the code runs again", "use 'step.uuid()'")
_PROCESS = Rule("gives something else in another process")
_OUTSIDE = Rule(
    "reaches out of the run, and does so each time the code runs", "let a step do it, by 'await step.do(...)'"
)
_BLOCKS = Rule("holds up every run of the process, each time the code runs", "use 'await step.sleep(...)'")
_BESIDE = Rule("is about a run beside this one", "use 'await step.run(...)', or let a step do it")
_UNRECORDED = Rule("runs its body with nothing recorded, each time the code runs", "use 'await step.run(...)'")
ENVIRONMENT = _PROCESS

_FAR_AWAY = frozenset({
    "aiohttp", "boto3", "botocore", "concurrent", "ftplib", "http", "httpx", "imaplib", "multiprocessing", "psycopg",
    "psycopg2", "redis", "requests", "shutil", "smtplib", "socket", "sqlalchemy", "sqlite3", "sqlmodel", "subprocess",
    "tempfile", "threading", "urllib", "urllib3",
})  # fmt: skip
"""Modules of which little can be called that stays within the process, see :data:`_NEAR`."""
_NEAR = frozenset({"urllib.parse", "http.HTTPStatus", "shutil.which"})


def _of(place: object, names: str) -> list[object]:
    """Those of the names that this Python has."""
    return [getattr(place, name) for name in names.split() if hasattr(place, name)]


_GROUPS: list[tuple[Rule, list[object]]] = [
    (_CLOCK, _of(time, "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns ctime localtime gmtime")),
    (_CLOCK, [*_of(datetime.datetime, "now utcnow today"), datetime.date.today]),
    (_CHANCE, [one for one in _of(random, " ".join(random.__all__)) if one is not Random]),
    (_CHANCE, [*_of(secrets, "choice randbelow randbits token_bytes token_hex token_urlsafe"), os.urandom]),
    (_UUID, _of(uuid, "uuid1 uuid4 uuid6 uuid7")),
    (_PROCESS, _of(os, "getenv getpid getppid getcwd getlogin cpu_count")),
    (_PROCESS, [*_of(pathlib.Path, "cwd home"), *_of(builtins, "hash id")]),
    (_BLOCKS, [time.sleep]),
    (_OUTSIDE, _of(builtins, "open input")),
    (_OUTSIDE, _of(os, "listdir scandir walk stat remove unlink rename replace mkdir makedirs rmdir system popen")),
    (_OUTSIDE, _of(pathlib.Path, "open read_text read_bytes write_text write_bytes touch unlink rename replace")),
    (_OUTSIDE, _of(pathlib.Path, "exists is_file is_dir stat iterdir glob rglob mkdir rmdir")),
    (_BESIDE, _of(Workflow, "run run_sync create_run get_run")),
]
_RULES: dict[object, Rule] = {called: rule for rule, group in _GROUPS for called in group}


def rule_of(called: object, arguments: int) -> Rule | None:
    """What is to be said of a call with so many arguments; None of most."""
    if isinstance(called, MethodOf):
        return _rule_of_method(called)
    if isinstance(called, Step):
        return _BESIDE if isinstance(called, Workflow) else _UNRECORDED
    if called is Random:  # with a seed it gives the same again
        return None if arguments else _CHANCE
    if arguments and any(called is one for one in _TOLD_WHEN):
        return None
    return _listed(called) or (_OUTSIDE if _is_far_away(called) else None)


def _rule_of_method(method: MethodOf) -> Rule | None:
    if issubclass(method.kind, Random):
        return _CHANCE
    listed = _listed(inspect.getattr_static(method.kind, method.name, None))
    return listed or (_OUTSIDE if _is_far_away(method.kind) else None)


def _listed(called: object) -> Rule | None:
    try:
        return _RULES.get(called)
    except TypeError:  # it has no hash
        return None


_TOLD_WHEN = (time.ctime, time.localtime, time.gmtime)
"""They tell of the time they are given, and of now without one."""


def _is_far_away(called: object) -> bool:
    module = getattr(called, "__module__", None)
    if not isinstance(module, str) or module in _NEAR or f"{module}.{getattr(called, '__qualname__', '')}" in _NEAR:
        return False
    return module.partition(".")[0].lstrip("_") in _FAR_AWAY
