"""One function read from its first line to its last."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from types import FunctionType
from typing import NamedTuple, cast

from wrkflw.graph import AnyStep, Graph, graph_of
from wrkflw.steps import Step

from .naming import Names
from .rules import ENVIRONMENT, Rule, rule_of
from .sources import Written

_AWAITED = frozenset({"do", "run", "sleep", "sleep_until", "wait_for_event"})


class Remark(NamedTuple):
    line: int
    what: str
    """It does, in the words of a sentence whose subject is the workflow."""
    cure: str


class Reader(ast.NodeVisitor):
    """``remarks`` is what it found, ``calls`` what the function calls that nothing is to be said of; ``nested`` are the
    workflows that it runs as steps.

    ``in_program``: it belongs to a ``@workflow``, which has tools for what it misses; else to a chain.
    """

    def __init__(self, function: FunctionType, tree: Written, *, in_program: bool) -> None:
        self._names = Names(function, tree)
        self._in_program = in_program
        self._tools = frozenset(_tools_of(tree, function))
        self._bodies = frozenset(self._handed_to_tools(tree))
        self._sets = _sets_in(tree)
        self.remarks: list[Remark] = []
        self.calls: list[object] = []
        self.nested: list[Graph] = []
        for part in tree.body if isinstance(tree.body, list) else [tree.body]:
            self.visit(part)

    # --- what is called ----------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> None:
        called = self._names.of(node.func)
        rule = rule_of(called, len(node.args) + len(node.keywords))
        if rule is not None:
            self._remark_by(rule, node, f"calls '{ast.unparse(node.func)}()'")
        else:
            self.calls.append(called)
        self.visit(node.func)
        parts = [*node.args, *node.keywords]
        if self._is_tool(node.func):
            self.nested += filter(None, map(self._nested, node.args))
            parts = [part for part in parts if not isinstance(part, ast.Lambda)]  # the body of a step
        for part in parts:
            self.visit(part)

    def _nested(self, handed: ast.expr) -> Graph | None:
        step = self._names.of(handed)
        return graph_of(cast("AnyStep", step)) if isinstance(step, Step) else None

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not self._is_environment(node):
            self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self._is_environment(node)

    def _is_environment(self, node: ast.expr) -> bool:
        is_it = self._names.of(node) is os.environ
        if is_it:
            self._remark_by(ENVIRONMENT, node, f"reads '{ast.unparse(node)}'")
        return is_it

    def visit_Expr(self, node: ast.Expr) -> None:
        match node.value:
            case ast.Call(func=ast.Attribute(attr=name) as called) if name in _AWAITED and self._is_tool(called):
                written = ast.unparse(called)
                self._remark(node, f"calls '{written}()' and does not wait for it", f"write 'await {written}(...)'")
            case _:
                pass
        self.generic_visit(node)

    # --- what is gone through ----------------------------------------------------------------------

    def visit_For(self, node: ast.For) -> None:
        self._look_at_order(node.iter)
        self.generic_visit(node)

    def _look_at_order(self, of: ast.expr) -> None:
        if _is_set(of) or (isinstance(of, ast.Name) and of.id in self._sets):
            what = f"goes through the set '{ast.unparse(of)}', whose order is another one in another process"
            self._remark(of, what, f"write 'sorted({ast.unparse(of)})'")

    def visit_Global(self, node: ast.Global) -> None:
        names = ", ".join(node.names)
        what = f"changes 'global {names}', which other runs share and a run that is taken up again does not find"
        self._remark(node, what, "keep it in a local variable, or in a database by a step")

    # --- functions within the function -------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._read_inner(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._read_inner(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._read_inner(node)

    def _read_inner(self, node: Written) -> None:
        """Unless it is the body of a step: it is handed to one, or decorated, which makes one."""
        if isinstance(node, ast.Lambda):
            body: list[ast.AST] = [node.body]
        elif node.decorator_list or node.name in self._bodies:
            return
        else:
            body = [*node.body]
        with self._names.within(_names_set_in(node)):
            for part in body:
                self.visit(part)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._read_comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._read_comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._read_comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._read_comprehension(node)

    def _read_comprehension(self, node: ast.ListComp | ast.DictComp | ast.GeneratorExp | ast.SetComp) -> None:
        # What goes through the others mostly does not mind: a sum, an any, a set.
        if isinstance(node, ast.ListComp | ast.DictComp) or self._calls_tools(node):
            for part in node.generators:
                self._look_at_order(part.iter)
        with self._names.within(_names_set_in(node)):
            self.generic_visit(node)

    # -----------------------------------------------------------------------------------------------

    def _remark_by(self, rule: Rule, node: ast.expr, what: str) -> None:
        self._remark(node, f"{what}, which {rule.why}", rule.cure if self._in_program else "let a step do it")

    def _remark(self, node: ast.expr | ast.stmt, what: str, cure: str) -> None:
        self.remarks.append(Remark(node.lineno, what, cure))

    def _is_tool(self, called: ast.expr) -> bool:
        """Whether it is a method of ``step``, or of what ``step.options()`` gives."""
        match called:
            case ast.Attribute(value=ast.Name(id=name)):
                return name in self._tools
            case ast.Attribute(value=ast.Call(func=options)):
                return self._is_tool(options)
            case _:
                return False

    def _calls_tools(self, tree: ast.AST) -> bool:
        return any(isinstance(node, ast.Call) and self._is_tool(node.func) for node in ast.walk(tree))

    def _handed_to_tools(self, tree: ast.AST) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and self._is_tool(node.func):
                yield from (one.id for one in node.args if isinstance(one, ast.Name))


def _tools_of(tree: Written, function: FunctionType) -> Iterator[str]:
    """The parameters that are the tools, and what is made of them by ``options``."""
    for name, form in function.__annotations__.items():
        said = form if isinstance(form, str) else getattr(form, "__name__", "")
        if said.strip("'\"").rpartition(".")[2] == "StepTools":
            yield name
    for node in ast.walk(tree):
        match node:
            case ast.Assign(
                targets=[ast.Name(id=name)], value=ast.Call(func=ast.Attribute(value=ast.Name(), attr="options"))
            ):
                yield name
            case _:
                pass


def _names_set_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _sets_in(tree: ast.AST) -> frozenset[str]:
    """The variables that are only ever given sets."""
    given: dict[str, list[bool]] = {}
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                given.setdefault(name, []).append(_is_set(value))
            case ast.For(target=ast.Name(id=name)) | ast.comprehension(target=ast.Name(id=name)) | ast.arg(arg=name):
                given.setdefault(name, []).append(False)
            case _:
                pass
    return frozenset(name for name, sets in given.items() if all(sets))


def _is_set(node: ast.expr) -> bool:
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
            return _is_set(left) or _is_set(right)
        case _:
            return False
