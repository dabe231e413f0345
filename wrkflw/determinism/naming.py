"""What the names in a function stand for, without running anything of it."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from types import FunctionType, ModuleType
from typing import Any, cast

from .rules import Elsewhere, MethodOf

UNKNOWN = object()
"""What only the running code has."""


class Names:
    """As seen from the inside of a function."""

    def __init__(self, function: FunctionType, tree: ast.AST) -> None:
        code = function.__code__
        self._own = {*code.co_varnames, *code.co_cellvars}
        self._imported = dict(_imports_in(tree, function.__globals__))
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        around = {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
        self._outer: tuple[Mapping[str, object], ...] = (around, function.__globals__, vars(builtins))

    @contextmanager
    def within(self, names: Iterable[str]) -> Generator[None]:
        """Inside of a function or a comprehension, which has names of its own."""
        before, self._own = self._own, self._own | set(names)
        try:
            yield
        finally:
            self._own = before

    def of(self, expression: ast.expr) -> object:
        """What an expression stands for; :data:`UNKNOWN` where only a run of the code could tell."""
        try:
            return self._of(expression)
        except Exception:  # noqa: BLE001  # a module, or an object, that fails when it is asked for a part of it
            return UNKNOWN

    def _of(self, expression: ast.expr) -> object:
        match expression:
            case ast.Name(id=name):
                return self._named(name)
            case ast.Attribute(value=value, attr=name):
                return _part_of(self._of(value), name)
            case ast.Call(func=called):
                kind = self._of(called)
                # Of what Random() makes nothing is to be said: it has a seed, or that it has none is said already.
                is_kind = isinstance(kind, type) and not issubclass(kind, Random)
                return MethodOf(cast("type[object]", kind), "") if is_kind else UNKNOWN
            case _:
                return UNKNOWN

    def _named(self, name: str) -> object:
        if name in self._imported:
            return self._imported[name]
        if name in self._own:
            return UNKNOWN
        return next((names[name] for names in self._outer if name in names), UNKNOWN)


def names_bound_in(tree: ast.AST) -> Iterator[str]:
    """The names that a function, or a comprehension, binds."""
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case (
                ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name)
                | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name))
            ):  # fmt: skip
                yield name
            case _:
                pass


def _part_of(whole: object, name: str) -> object:
    if whole is UNKNOWN:
        return UNKNOWN
    if isinstance(whole, Elsewhere):
        return whole
    if isinstance(whole, MethodOf):  # of an instance, when it has no name yet
        return MethodOf(whole.kind, name) if not whole.name else UNKNOWN
    if isinstance(whole, ModuleType | type):
        return getattr(cast("object", whole), name, UNKNOWN)
    return MethodOf(type(whole), name)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # what it is to hold is defined further down
        return False


def _imports_in(tree: ast.AST, around: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """What a function imports for itself; nothing is imported for that."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield alias.asname or top, _module(alias.name if alias.asname else top)
        elif isinstance(node, ast.ImportFrom):
            module = _module(_resolved(node, around))
            for alias in node.names:
                is_there = isinstance(module, ModuleType)
                yield alias.asname or alias.name, vars(module).get(alias.name, UNKNOWN) if is_there else module


def _resolved(node: ast.ImportFrom, around: Mapping[str, object]) -> str:
    package = around.get("__package__")
    name = "." * node.level + (node.module or "")
    return importlib.util.resolve_name(name, package if isinstance(package, str) else None) if node.level else name


def _module(name: str) -> ModuleType | Elsewhere:
    return sys.modules.get(name) or Elsewhere(name)
