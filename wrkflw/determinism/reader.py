"""One function read from its first line to its last."""

from __future__ import annotations

import ast
import os
from types import FunctionType
from typing import NamedTuple, TypeAlias, cast

from wrkflw.decorators import step as step_decorator
from wrkflw.graph import AnyStep, Graph, graph_of
from wrkflw.imperative import workflow as workflow_decorator
from wrkflw.steps import Step

from .naming import UNKNOWN, Names, names_bound_in
from .rules import ENVIRONMENT, IN_A_CHAIN, Rule, rule_of
from .sources import Written, is_vouched_for, path_of
from .tools import Tools

_AWAITED = frozenset({"do", "run", "sleep", "sleep_until", "wait_for_event"})
_KEEP_ORDER = frozenset({"list", "tuple", "enumerate", "iter", "reversed"})
_Comprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class Remark(NamedTuple):
    line: int
    what: str
    """It does, in the words of a sentence whose subject is the workflow."""
    cure: str


class Reader(ast.NodeVisitor):
    """``remarks`` is what it found, ``calls`` what the function calls that nothing is to be said of; ``nested`` are the
    workflows that it runs as steps.

    ``in_program``: it belongs to a ``@workflow``, which has tools for what it misses (``is_program``: and is its
    function); else to a chain.
    """

    def __init__(self, function: FunctionType, tree: Written, *, in_program: bool, is_program: bool) -> None:
        self._path = path_of(function)
        self._names = Names(function, tree)
        self._in_program = in_program
        self._tools = Tools(tree, self._names, is_program=is_program)
        self._sets = _sets_in(tree)
        self._bound = frozenset(names_bound_in(tree))
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
        elif called is not UNKNOWN and not self._is_vouched_for(node):
            self.calls.append(called)
        self.visit(node.func)
        parts = [*node.args, *node.keywords]
        if self._tools.has(node.func):
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
            self._remark_by(ENVIRONMENT, node, f"uses '{ast.unparse(node)}'")
        return is_it

    def visit_Expr(self, node: ast.Expr) -> None:
        match node.value:
            case ast.Call(func=ast.Attribute(attr=name) as called) if name in _AWAITED and self._tools.has(called):
                written = ast.unparse(called)
                self._remark(node, f"calls '{written}()' and does not wait for it", f"write 'await {written}(...)'")
            case _:
                pass
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        if names := ", ".join(name for name in node.names if name in self._bound):
            what = f"changes 'global {names}', which other runs share and a run that is taken up again does not find"
            self._remark(node, what, "keep it in a local variable, or in a database by a step")

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        caught = "all" if node.type is None else ast.unparse(node.type)
        catches_all = node.type is None or self._names.of(node.type) is BaseException
        if catches_all and self._in_program and not any(isinstance(part, ast.Raise) for part in ast.walk(node)):
            what = f"catches {caught} and goes on, also when it is left by CancelledError because its run parks"
            self._remark(node, what, "catch Exception, or raise it again")
        self.generic_visit(node)

    # --- the order of steps ------------------------------------------------------------------------

    def visit_For(self, node: ast.For) -> None:
        self._look_at_order(node.iter, *node.body)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._read_comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._read_comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._read_comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._read_comprehension(node)

    def _read_comprehension(self, node: _Comprehension) -> None:
        for part in node.generators:
            self._look_at_order(part.iter, node)
        with self._names.within(names_bound_in(node)):
            self.generic_visit(node)

    def _look_at_order(self, iterated: ast.expr, *body: ast.AST) -> None:
        while isinstance(iterated, ast.Call) and isinstance(iterated.func, ast.Name) and iterated.args:
            if iterated.func.id not in _KEEP_ORDER:
                break
            iterated = iterated.args[0]
        if self._is_set(iterated) and self._tools.are_called_in(*body):
            written = ast.unparse(iterated)
            of = f"of '{written}', a set, which" if isinstance(iterated, ast.Name) else "of a set, which"
            what = f"calls steps in the order {of} may be another one in another process"
            self._remark(iterated, what, f"write 'sorted({written})'" if len(written) < 40 else "sort it")

    def _is_set(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name) and node.id in self._sets:
            return True
        return _is_set(node) or isinstance(self._names.of(node), set | frozenset)

    # --- functions within the function -------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._read_inner(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._read_inner(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        with self._names.within(names_bound_in(node)):
            self.visit(node.body)

    def visit_Assign(self, node: ast.Assign) -> None:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda()) if self._tools.is_body(name):
                pass
            case _:
                self.generic_visit(node)

    def _read_inner(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Unless it is the body of a step."""
        if self._tools.is_body(node.name) or any(map(self._makes_a_step, node.decorator_list)):
            return
        with self._names.within(names_bound_in(node)):
            for part in node.body:
                self.visit(part)

    def _makes_a_step(self, decorator: ast.expr) -> bool:
        made_by = self._names.of(decorator.func if isinstance(decorator, ast.Call) else decorator)
        return any(made_by is one for one in (step_decorator, workflow_decorator, UNKNOWN))

    # -----------------------------------------------------------------------------------------------

    def _remark_by(self, rule: Rule, node: ast.expr, what: str) -> None:
        self._remark(node, f"{what}, which {rule.why}", rule.cure if self._in_program else IN_A_CHAIN)

    def _remark(self, node: ast.expr | ast.stmt | ast.ExceptHandler, what: str, cure: str) -> None:
        if not self._is_vouched_for(node):
            self.remarks.append(Remark(node.lineno, what, cure))

    def _is_vouched_for(self, node: ast.expr | ast.stmt | ast.ExceptHandler) -> bool:
        last = node.lineno if isinstance(node, ast.ExceptHandler) else node.end_lineno or node.lineno
        return is_vouched_for(self._path, node.lineno, last)


def _sets_in(tree: ast.AST) -> frozenset[str]:
    """The variables that are only ever given sets, and the parameters that are said to be some."""
    given: dict[str, list[bool]] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                given.setdefault(name, []).append(_is_set(value))
            case ast.AnnAssign(target=ast.Name(id=name), annotation=form):
                given.setdefault(name, []).append(_says_set(form))
            case ast.arg(arg=name, annotation=form):
                given.setdefault(name, []).append(form is not None and _says_set(form))
            case ast.For(target=ast.Name(id=name)) | ast.comprehension(target=ast.Name(id=name)):
                given.setdefault(name, []).append(False)
            case _:
                pass
    return frozenset(name for name, sets in given.items() if all(sets))


def _says_set(form: ast.expr) -> bool:
    written = ast.unparse(form).strip("'\"").partition("[")[0]
    return written.rpartition(".")[2] in {"set", "frozenset", "Set", "AbstractSet", "MutableSet"}


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
