"""Settings from the environment: every ``WRKFLW_*`` variable, with its type, its range and its default.

Read once, where a runtime is made; an argument that is given there wins over its variable.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple, Self, TypeAlias, cast

from .errors import InvalidValueError
from .suggestions import did_you_mean

PREFIX = "WRKFLW_"

Role: TypeAlias = Literal["both", "producer", "worker"]


class Kind(NamedTuple):
    """What a variable may be, in words, and how it is read.  ``read`` raises ValueError for anything else."""

    allowed: str
    read: Callable[[str], object]


class Variable(NamedTuple):
    """One variable of the environment, and the field of :class:`Settings` that it sets."""

    name: str
    field: str
    default: object
    kind: Kind
    meaning: str


def _one_of(*words: str) -> Kind:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return Kind(f"{', '.join(map(repr, words[:-1]))} or {words[-1]!r}", read)


def _matching(pattern: str, allowed: str) -> Kind:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return Kind(allowed, read)


def _whole(least: int, most: int) -> Kind:
    def read(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise ValueError
        return number

    return Kind(f"a whole number from {least:,} to {most:,}", read)


def _seconds(least: float, most: int) -> Kind:
    def read(text: str) -> float:
        number = float(text)
        if not least <= number <= most:
            raise ValueError
        return number

    return Kind(f"a number of seconds from {least} to {most:,}", read)


def _flag(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def _retention(text: str) -> float | None:
    if text == "forever":
        return None
    number = float(text)
    if not 0 <= number <= _LONGEST:
        raise ValueError
    return number


_LONGEST = 100 * 365 * 86_400
_TEXT = _matching(r"[^\x00-\x1f\x7f]{1,4096}", "a text without control characters")
_NAME = _matching(r"[A-Za-z0-9_.-]{1,128}", "letters, digits, '.', '_' and '-', at most 128")
_NAMESPACE = _matching("[a-z][a-z0-9]{0,62}", "small letters and digits, a letter first, at most 63")
_BOOLEAN = Kind("'true' or 'false'", _flag)
_RETENTION = Kind("a number of seconds from 0, or 'forever'", _retention)
_DAY = 86_400
_MIB = 1024 * 1024
_ROLE, _DURABILITY = _one_of("both", "producer", "worker"), _one_of("full", "normal")
_INLINE, _PAYLOAD = _whole(0, _MIB), _whole(1, 1024 * _MIB)
_FEW, _MANY = _whole(1, 100_000), _whole(1, 10_000_000)
_UP_TO_A_DAY = _seconds(0.001, _DAY)


def _may_be(kind: Kind, meaning: str) -> Mapping[str, object]:
    return {"kind": kind, "meaning": meaning}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Each field is the variable of its name in capitals: ``namespace`` is ``WRKFLW_NAMESPACE``."""

    database_url: str = field(
        default="sqlite:///wrkflw.db", metadata=_may_be(_TEXT, "where runs are kept: `sqlite:///app.db`, `:memory:`")
    )
    namespace: str = field(
        default="default",
        metadata=_may_be(
            _NAMESPACE,
            "whose runs these are; one database may serve several, which see no runs but their own, and share the ids: "
            "no two have a run of the same id",
        ),
    )
    role: Role = field(
        default="both", metadata=_may_be(_ROLE, "a `producer` advances the runs it starts and takes no others")
    )
    recover: bool = field(default=True, metadata=_may_be(_BOOLEAN, "whether a worker takes up what others have left"))
    deployment_id: str = field(default="dpl_local", metadata=_may_be(_NAME, "stamped on runs"))
    owner_id: str = field(default="local", metadata=_may_be(_NAME, "stamped on hooks"))
    project_id: str = field(default="default", metadata=_may_be(_NAME, "stamped on hooks"))
    environment: str = field(
        default="development",
        metadata=_may_be(_NAME, "stamped on hooks and messages; a worker takes no message of another one"),
    )
    payload_inline_max: int = field(
        default=10_240,
        metadata=_may_be(_INLINE, "bytes up to which a payload stands in its event; a larger one is kept by its hash"),
    )
    payload_max: int = field(default=64 * _MIB, metadata=_may_be(_PAYLOAD, "bytes that no payload may exceed"))
    blob_url: str | None = field(
        default=None,
        metadata=_may_be(
            _TEXT, "where large payloads go: `file:///path/to/folder`, `s3://bucket/prefix`; without it, the database"
        ),
    )
    max_events: int = field(default=25_000, metadata=_may_be(_MANY, "events of one run"))
    max_deliveries: int = field(
        default=48, metadata=_may_be(_FEW, "failures after which a message, and its run, is given up")
    )
    worker_concurrency: int = field(default=100, metadata=_may_be(_FEW, "runs that a worker advances at a time"))
    lease_seconds: float = field(
        default=30, metadata=_may_be(_UP_TO_A_DAY, "how long a process that has stopped keeps its runs")
    )
    poll_seconds: float = field(
        default=5, metadata=_may_be(_UP_TO_A_DAY, "how often to look for what no notice told of")
    )
    retention_seconds: float | None = field(
        default=30 * _DAY,
        metadata=_may_be(
            _RETENTION, "how long a run keeps its payloads after its end, where its workflow does not say"
        ),
    )
    durability: Literal["full", "normal"] = field(
        default="full", metadata=_may_be(_DURABILITY, "`normal` may lose the last commits when the power fails")
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """The settings that ``environment`` holds; a variable that is empty counts as absent.

        Warns of each ``WRKFLW_*`` name that is none.  Raises InvalidValueError for a value that may not be.
        """
        variables = {variable.name: variable for variable in VARIABLES}
        for name in sorted(environment):
            if name.startswith(PREFIX) and name not in variables:
                known = [variable.removeprefix(PREFIX) for variable in variables]
                guess = did_you_mean(name.removeprefix(PREFIX), known, lambda word: PREFIX + word) or "; remove it"
                warnings.warn(f"{name} is no setting of wrkflw{guess}", stacklevel=3)
        given = {name: text for name in variables if (text := environment.get(name))}
        return cls(**{variables[name].field: _read(variables[name], name, text) for name, text in given.items()})

    def with_arguments(self, arguments: Mapping[str, object]) -> Self:
        """These settings, but for the ``arguments`` of a runtime that are not None.

        Raises InvalidValueError for a value that may not be.
        """
        variables = {variable.field: variable for variable in VARIABLES}
        given = {_ARGUMENTS.get(name, name): (name, value) for name, value in arguments.items() if value is not None}
        return replace(
            self, **{field: _read(variables[field], f"{name}=", value) for field, (name, value) in given.items()}
        )


VARIABLES: tuple[Variable, ...] = tuple(
    Variable(
        PREFIX + one.name.upper(), one.name, one.default, cast("Kind", one.metadata["kind"]), one.metadata["meaning"]
    )
    for one in fields(Settings)
)


_ARGUMENTS = {"database": "database_url", "concurrency": "worker_concurrency"}
"""Where an argument of a runtime has another name than its field."""


def _read(variable: Variable, name: str, value: object) -> Any:
    try:
        return variable.kind.read(str(value))
    except (ValueError, KeyError, OverflowError) as error:
        shown = repr(value[:80]) if isinstance(value, str) else repr(value)[:80]
        raise InvalidValueError.because(name, f"cannot be {shown}", cure=f"give {variable.kind.allowed}") from error
