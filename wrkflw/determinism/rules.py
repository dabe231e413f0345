"""The table: what comes out otherwise each time it is called, and what to do instead."""

from __future__ import annotations

import asyncio
import builtins
import datetime
import inspect
import os
import pathlib
import random
import secrets
import time
import uuid
from dataclasses import dataclass, replace
from enum import Enum
from random import Random
from typing import NamedTuple, cast

from wrkflw.steps import Step
from wrkflw.workflows import Workflow


class MethodOf(NamedTuple):
    """A method of an instance that only the running code has, or that must not be touched."""

    kind: type[object]
    name: str


class Elsewhere(NamedTuple):
    """A part of a module that is not imported."""

    module: str


@dataclass(frozen=True, slots=True)
class Rule:
    """``why`` goes on from what is called; ``cure`` is for a program, whose ``step`` has what is missed."""

    why: str
    cure: str
    harmless_with: int = 10**6
    """With so many arguments it only reckons with what it is given."""


_LET_A_STEP = "let a step do it, by 'await step.do(...)'"
_CLOCK = Rule("tells another time when the code runs again", "use 'step.now()'")
_CHANCE = Rule("gives something else when the code runs again", "use 'step.random()'")
_UUID = Rule("gives another one when the code runs again", "use 'step.uuid()'")
_PROCESS = Rule("may give something else in another process", _LET_A_STEP)
_OUTSIDE = Rule("reaches out of the run, and does so each time the code runs", _LET_A_STEP)
_BLOCKS = Rule("holds up every run of the process, each time the code runs", "use 'await step.sleep(...)'")
_BESIDE = Rule("is about a run beside this one", "use 'await step.run(...)', or let a step do it")
_UNRECORDED = Rule("runs its body with nothing recorded, each time the code runs", "use 'await step.run(...)'")
ENVIRONMENT = _PROCESS
IN_A_CHAIN = "let a step before it do that"
"""The cure where there are no tools."""

_FAR_AWAY = frozenset({
    "aiohttp", "boto3", "botocore", "concurrent", "ftplib", "glob", "http", "httpx", "imaplib", "multiprocessing",
    "psycopg", "psycopg2", "redis", "requests", "shutil", "smtplib", "socket", "sqlite3", "subprocess", "tempfile",
    "threading", "urllib", "urllib3",
})  # fmt: skip
"""Modules of which little can be called that stays within the process: but :data:`_NEAR`, and what holds values."""
_NEAR = frozenset({"urllib.parse"})
_VALUES = (BaseException, Enum)


def _of(place: object, names: str) -> list[object]:
    """Those of the names that this Python has."""
    return [getattr(place, name) for name in names.split() if hasattr(place, name)]


_GROUPS: list[tuple[Rule, list[object]]] = [
    (_CLOCK, _of(time, "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time")),
    (replace(_CLOCK, harmless_with=1), _of(time, "ctime localtime gmtime")),
    (replace(_CLOCK, harmless_with=2), _of(time, "strftime")),
    (_CLOCK, [*_of(datetime.datetime, "now utcnow today"), datetime.date.today]),
    (_CHANCE, [one for one in _of(random, " ".join(random.__all__)) if one is not Random]),
    (replace(_CHANCE, harmless_with=1), [Random]),
    (_CHANCE, [*_of(secrets, "choice randbelow randbits token_bytes token_hex token_urlsafe"), os.urandom]),
    (_UUID, _of(uuid, "uuid1 uuid4 uuid6 uuid7")),
    (_PROCESS, _of(os, "getenv getpid getppid getcwd getlogin cpu_count")),
    (_PROCESS, [*_of(pathlib.Path, "cwd home"), *_of(builtins, "hash id")]),
    (_BLOCKS, [time.sleep]),
    (_OUTSIDE, _of(builtins, "open input")),
    (_OUTSIDE, _of(asyncio, "to_thread open_connection start_server create_subprocess_exec create_subprocess_shell")),
    (_OUTSIDE, _of(os, "listdir scandir walk stat access remove unlink rename replace mkdir makedirs system popen")),
    (_OUTSIDE, _of(os.path, "exists lexists isfile isdir islink getsize getmtime getctime getatime realpath")),
    (_OUTSIDE, _of(pathlib.Path, "open read_text read_bytes write_text write_bytes touch unlink rename replace")),
    (_OUTSIDE, _of(pathlib.Path, "exists is_file is_dir is_symlink stat iterdir glob rglob mkdir rmdir resolve")),
    (_BESIDE, _of(Workflow, "run run_sync create_run get_run")),
]  # fmt: skip
_RULES: dict[object, Rule] = {called: rule for rule, group in _GROUPS for called in group}


def rule_of(called: object, arguments: int) -> Rule | None:
    """What is to be said of a call with so many arguments; None of most."""
    try:
        rule = _rule_of(called)
    except Exception:  # noqa: BLE001  # an object of the user's that does not want to be looked at
        return None
    return None if rule is None or arguments >= rule.harmless_with else rule


def _rule_of(called: object) -> Rule | None:
    if isinstance(called, MethodOf):
        if issubclass(called.kind, Random):
            return _CHANCE
        listed = _RULES.get(inspect.getattr_static(called.kind, called.name, None))
        return listed or _far_away(called.kind.__module__)
    if isinstance(called, Elsewhere):
        return _far_away(called.module)
    if isinstance(called, Step):
        return _BESIDE if isinstance(called, Workflow) else _UNRECORDED
    if isinstance(called, type) and issubclass(cast("type[object]", called), _VALUES):
        return None
    return _RULES.get(called) or _far_away(getattr(called, "__module__", None))


def _far_away(module: object) -> Rule | None:
    is_far = isinstance(module, str) and module not in _NEAR and module.partition(".")[0].lstrip("_") in _FAR_AWAY
    return _OUTSIDE if is_far else None
