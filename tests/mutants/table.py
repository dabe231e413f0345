"""Every mistake that is made on purpose, and the test that finds it; as Markdown, :func:`markdown`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.faults import mutants as of_disks
from tests.values import mutants as of_values
from tests.world.broken.defects import DEFECTS
from wrkflw.testing import conformance

from . import processes
from .mutant import Found, Layer
from .simulated import SIMULATED
from .unit import UNIT

_OF_DISKS = {
    of_disks.acknowledges_before_the_commit: "What was acknowledged is on the disk.",
    of_disks.writes_event_and_view_apart: "A crash leaves what a run shows as its log says.",
    of_disks.commits_then_enqueues: "A run that was created is due, whenever its creator dies.",
    of_disks.swallows_errors_of_the_disk: "What the disk refused is not acknowledged.",
}
_OF_VALUES = {
    of_values.records_without_reading_back: "What is recorded can be read as what it was.",
    of_values.takes_what_comes_back_for_what_went_in: "What comes back differently is refused.",
    of_values.writes_the_value_of_a_union_alone: "A value comes back as the member of its union that it was.",
    of_values.names_the_first_member_that_takes_the_value: "A value is written as its own member of the union.",
    of_values.writes_as_pydantic_does: "Bytes come back as they were.",
    of_values.writes_and_reads_by_any_name: "A field comes back as the one it was.",
    of_values.believes_in_hashes: "A payload that does not have its hash is not handed out.",
    of_values.takes_gaps_for_granted: "A log with a gap pauses its run.",
}
_OF_PROCESSES = {
    processes.ignores_the_fence: "Who was stopped past its lease writes nothing more.",
    processes.acknowledges_before_the_commit: "What was acknowledged survives kill -9.",
    processes.renews_its_lease_on_the_loop: "A body that blocks its event loop keeps its run.",
}
_OF_POWER = {
    "commits without a sync": "What was acknowledged survives the loss of power.",
    "no sync at all": "The loss of power tears no database.",
}


def _rows() -> Iterator[Found]:
    for mutant in SIMULATED:
        yield Found(mutant.name, mutant.breaks, "simulation", "tests/simulation/test_mutants.py")
    for bug in UNIT:
        yield Found(bug.name, bug.breaks, "unit", bug.test)
    yield from _named(_OF_PROCESSES, "kills", "tests/crash/test_mistakes.py")
    yield from _named(_OF_DISKS, "crash points", "tests/faults/test_mutants.py")
    for name, breaks in _OF_POWER.items():
        yield Found(name, breaks, "power loss", "tests/faults/test_power.py")
    yield from _named(_OF_VALUES, "values", "tests/values/test_mutants.py")
    promises = {str(check): check.promise for check in conformance.CHECKS}
    for defect in DEFECTS:
        name = str(defect).replace("_", " ")
        yield Found(name, promises[defect.fails[0]], "conformance", "tests/world/test_conformance.py")


def _named(promises: Mapping[Any, str], layer: Layer, test: str) -> Iterator[Found]:
    for mutant, breaks in promises.items():
        yield Found(mutant.__name__.replace("_", " "), breaks, layer, test)


FOUND = tuple(_rows())


def markdown() -> str:
    lines = ["| mistake | what it breaks | found by |", "|---|---|---|"]
    lines += [f"| {one.name} | {one.breaks} | {one.layer}: `{one.by}` |" for one in FOUND]
    return "\n".join(lines) + "\n"
