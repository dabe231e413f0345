"""All functions of a workflow that run between its steps, and what is to be said of them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

from wrkflw.functions import PlainFunction, functions_of
from wrkflw.graph import Code, Graph, graph_of
from wrkflw.workflows import Workflow

from .reader import Reader
from .rules import IN_A_CHAIN, rule_of
from .sources import Sources, functions_in, is_of, package_of, path_of


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that code between steps does, and that may come out otherwise when it runs again.

    ``path`` and ``line`` (from 1) are where, or empty and 0 of a function that no file of the project has; ``what``
    goes on from "workflow 'x'"; ``cure`` is what to do.
    ``str()`` is all of it in a line, as editors and terminals jump to it.
    """

    workflow_id: str
    path: str
    line: int
    what: str
    cure: str

    def __str__(self) -> str:
        where = f"{_shown(self.path)}:{self.line}: " if self.path else ""
        return f"{where}workflow {self.workflow_id!r} {self.what}; {self.cure}"


def lint(*workflows: Workflow[Any, Any, Any]) -> list[Finding]:
    """Read the code of workflows that runs between their steps, and tell what may come out otherwise next time.

    That code is the function of a ``@workflow``, or the maps, joins and conditions of a chain, with the workflows
    nested in it, and the functions that it calls by name, of the same project; bodies of steps may do what they like.
    Told are calls of what a table lists: the time, chance, the process, the world outside; steps that are called other
    than by ``step.run``; calls of ``step`` that stand alone without ``await``; steps in the order of a set; an
    ``except`` that takes everything; a ``global`` that is changed.  Of what is called as a method, or by a variable,
    little can be known.

    A line that is as it should be says so at its end: ``# wrkflw: deterministic``.  Nothing of the code is run.

    Returns:
        The findings, by file and line; of code that several workflows share, once.

    Raises:
        TypeError: one of them is no workflow.
    """
    linter = _Linter()
    for workflow in workflows:
        graph = graph_of(workflow)
        if graph is None:
            raise TypeError(f"{workflow!r} is no workflow; pass what .commit() or @workflow gives")
        linter.add(graph)
    return sorted(linter.findings(), key=lambda one: (one.path, one.line))


class _Role(NamedTuple):
    """What a function is for a workflow."""

    in_program: bool
    is_program: bool = False
    must_be_read: bool = False
    """Whether it is to be told when there is no text of it; what is made by machines has none."""


class _Linter:
    """Each function is read once, for the first workflow that has it."""

    def __init__(self) -> None:
        self._sources = Sources()
        self._waiting: deque[tuple[Graph, FunctionType, _Role]] = deque()
        self._graphs: set[Graph] = set()
        self._functions: set[FunctionType] = set()
        self._homes: dict[Graph, frozenset[str]] = {}
        self._found: list[Finding] = []

    def add(self, graph: Graph) -> None:
        if graph in self._graphs:
            return
        self._graphs.add(graph)
        for node in graph.nodes:
            if isinstance(node, Code):
                self._add(graph, node.written, _Role(in_program=True, is_program=True, must_be_read=True))
        for plain in functions_of(graph):
            self._add_plain(graph, plain)
        for step in graph.steps.values():
            if (nested := graph_of(step)) is not None:
                self.add(nested)

    def findings(self) -> list[Finding]:
        while self._waiting:
            self._read(*self._waiting.popleft())
        return self._found

    def _add_plain(self, graph: Graph, plain: PlainFunction) -> None:
        rule = rule_of(plain.function, plain.values or 1)
        if rule is not None:
            named = getattr(plain.function, "__qualname__", type(plain.function).__name__)
            what = f"has {named!r} as its {plain.name}, which {rule.why}"
            self._found.append(Finding(graph.workflow_id, "", 0, what, IN_A_CHAIN))
        else:
            must_be_read = not isinstance(plain.function, type)
            self._add(graph, plain.function, _Role(in_program=False, must_be_read=must_be_read))

    def _add(self, graph: Graph, called: object, role: _Role) -> None:
        if graph not in self._homes:
            self._homes[graph] = _homes_of(graph)
        for function in functions_in(called):
            if function not in self._functions and is_of(function, self._homes[graph]):
                self._functions.add(function)
                self._waiting.append((graph, function, role))

    def _read(self, graph: Graph, function: FunctionType, role: _Role) -> None:
        path = path_of(function)
        reader = self._reader_of(function, role)
        if reader is not None:
            self._found += [Finding(graph.workflow_id, path, *remark) for remark in reader.remarks]
            for called in reader.calls:
                self._add(graph, called, _Role(role.in_program))
            for nested in reader.nested:
                self.add(nested)
        elif role.must_be_read:
            what = f"has a function {function.__qualname__!r} whose source cannot be read"
            line = function.__code__.co_firstlineno
            self._found.append(Finding(graph.workflow_id, path, line, what, "define it in a file"))

    def _reader_of(self, function: FunctionType, role: _Role) -> Reader | None:
        try:
            tree = self._sources.tree_of(function)
            if tree is not None:
                return Reader(function, tree, in_program=role.in_program, is_program=role.is_program)
        except RecursionError:  # hundreds of branches within each other, or of terms in a sum
            pass
        return None


def _homes_of(graph: Graph) -> frozenset[str]:
    """The packages that the workflow is written in: those of its functions, and of the bodies of its steps."""
    written: list[object] = [node.written for node in graph.nodes if isinstance(node, Code)]
    written += [step.body.function for step in graph.steps.values() if graph_of(step) is None]
    return frozenset(package_of(function) for one in written for function in functions_in(one))


def _shown(path: str) -> str:
    """As seen from the working directory, if it lies in there."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
