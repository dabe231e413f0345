"""All functions of a workflow that run between its steps, and what is to be said of them."""

from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

from wrkflw.functions import functions_of
from wrkflw.graph import Code, Graph, graph_of
from wrkflw.signatures import plain_function
from wrkflw.workflows import Workflow

from .reader import Reader
from .sources import Sources, is_vouched_for, path_of

_TRUSTED = frozenset({"pydantic", *sys.stdlib_module_names})
"""Packages whose functions are maps as they are: ``Order.model_validate``, ``json.loads``."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that code between steps does, and that may come out otherwise when it runs again.

    ``path`` and ``line`` (from 1) are where; ``what`` goes on from "workflow 'x'"; ``cure`` is what to do.
    ``str()`` is all of it in a line, as editors and terminals jump to it.
    """

    workflow_id: str
    path: str
    line: int
    what: str
    cure: str

    def __str__(self) -> str:
        return f"{_shown(self.path)}:{self.line}: workflow {self.workflow_id!r} {self.what}; {self.cure}"


def lint(*workflows: Workflow[Any, Any, Any]) -> list[Finding]:
    """Read the code of workflows that runs between their steps, and tell what may come out otherwise next time.

    That code is the function of a ``@workflow``, or the maps, joins and conditions of a chain, with the workflows
    nested in it and the functions of the same package that it calls; bodies of steps may do what they like.  Told are
    calls that ask for the time, chance, the process or the world outside, steps called without ``step.run``, calls of
    ``step`` that nobody awaits, loops over sets, and globals that are changed.  Reading finds what is called by name;
    what is found out only when it runs pauses the run instead.

    A line that is as it should be says so at its end: ``# wrkflw: deterministic``.  Nothing is called or recorded.

    Returns:
        The findings, by file and line; of code that several workflows share, once.
    """
    linter = _Linter()
    for workflow in workflows:
        linter.add(workflow.graph)
    return sorted(linter.findings(), key=lambda one: (one.path, one.line))


class _Linter:
    """Each function is read once, for the first workflow that has it."""

    def __init__(self) -> None:
        self._sources = Sources()
        self._waiting: deque[tuple[str, FunctionType, bool]] = deque()
        self._graphs: set[Graph] = set()
        self._functions: set[FunctionType] = set()

    def add(self, graph: Graph) -> None:
        if graph in self._graphs:
            return
        self._graphs.add(graph)
        for node in graph.nodes:
            if isinstance(node, Code):
                self._add(graph.workflow_id, _as_function(node.written), in_program=True)
        for plain in functions_of(graph):
            self._add(graph.workflow_id, _as_function(plain.function), in_program=False)
        for step in graph.steps.values():
            if (nested := graph_of(step)) is not None:
                self.add(nested)

    def findings(self) -> Iterator[Finding]:
        while self._waiting:
            workflow_id, function, in_program = self._waiting.popleft()
            path, tree = path_of(function), self._sources.tree_of(function)
            if tree is None:
                what = f"has a function {function.__qualname__!r} whose source is not there to be read"
                yield Finding(workflow_id, path, function.__code__.co_firstlineno, what, "define it in a file")
                continue
            reader = Reader(function, tree, in_program=in_program)
            for line, what, cure in reader.remarks:
                if not is_vouched_for(path, line):
                    yield Finding(workflow_id, path, line, what, cure)
            for called in reader.calls:
                own = called if isinstance(called, FunctionType) else None
                if own is not None and _package_of(own) == _package_of(function):
                    self._add(workflow_id, _as_function(own), in_program=in_program)
            for nested in reader.nested:
                self.add(nested)

    def _add(self, workflow_id: str, function: FunctionType | None, *, in_program: bool) -> None:
        if function is not None and function not in self._functions:
            self._functions.add(function)
            self._waiting.append((workflow_id, function, in_program))


def _as_function(function: object) -> FunctionType | None:
    """It, if it is written in Python, and not by those who know what they do."""
    if not callable(function) or isinstance(function, type):
        return None
    plain: object = inspect.unwrap(plain_function(function))
    if inspect.ismethod(plain):
        plain = plain.__func__
    return plain if isinstance(plain, FunctionType) and _package_of(plain) not in _TRUSTED else None


def _package_of(function: FunctionType) -> str:
    return function.__module__.partition(".")[0]


def _shown(path: str) -> str:
    """As seen from the working directory, if it lies in there."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
