"""What a mistake is that is made on purpose, and the layers of the tests that must find one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import pytest

Layer: TypeAlias = Literal["simulation", "kills", "crash points", "power loss", "conformance", "values", "unit"]
Apply: TypeAlias = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutant:
    """A mistake that the simulation finds; ``apply`` makes it until its argument is undone."""

    name: str
    breaks: str
    """What does not hold any more, as a sentence."""
    apply: Apply
    says: str
    """What matches the violation by which it is found."""
    budget: int = 500
    """How many seeds may pass it by: several times what it takes, since a change of the engine is another draw."""


@dataclass(frozen=True)
class Bug:
    """A mistake that tests find by failing: ``test`` is the one that must, by its file and name."""

    name: str
    breaks: str
    apply: Apply
    test: str


@dataclass(frozen=True)
class Found:
    """A line of the table: a mistake, and what finds it."""

    name: str
    breaks: str
    layer: Layer
    by: str
    """The test that makes the mistake and must find it."""
