"""What the names in a function stand for, without running anything of it."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from random import Random
from types import FunctionType, ModuleType
from typing import Any, cast

from .rules import MethodOf

UNKNOWN = object()
"""What only the running code has."""


class Names:
    """As seen from the inside of a function."""

    def __init__(self, function: FunctionType, tree: ast.AST) -> None:
        code = function.__code__
        self._own = {*code.co_varnames, *code.co_cellvars}
        self._imported = dict(_imports_in(tree))
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        self._around = {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
        self._globals = function.__globals__

    @contextmanager
    def within(self, names: Iterable[str]) -> Generator[None]:
        """Inside of a lambda or a comprehension, which has names of its own."""
        before, self._own = self._own, self._own | set(names)
        try:
            yield
        finally:
            self._own = before

    def of(self, expression: ast.expr) -> object:
        """What an expression stands for; :data:`UNKNOWN` where only a run of the code could tell."""
        match expression:
            case ast.Name(id=name):
                return self._named(name)
            case ast.Attribute(value=value, attr=name):
                return _part_of(self.of(value), name)
            case ast.Call(func=called):
                kind = self.of(called)
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
        for names in (self._around, self._globals, vars(builtins)):
            if name in names:
                return names[name]
        return UNKNOWN


def _part_of(whole: object, name: str) -> object:
    if whole is UNKNOWN:
        return UNKNOWN
    if isinstance(whole, MethodOf):  # of an instance, when it has no name yet
        return MethodOf(whole.kind, name) if not whole.name else UNKNOWN
    if isinstance(whole, ModuleType | type):
        try:
            return getattr(cast("object", whole), name, UNKNOWN)
        except Exception:  # noqa: BLE001  # a module that loads its parts when they are asked for may fail to
            return UNKNOWN
    return MethodOf(type(whole), name)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # what it is to hold is defined further down
        return False


def _imports_in(tree: ast.AST) -> Iterator[tuple[str, object]]:
    """What a function imports for itself, as far as it is imported already or belongs to Python."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield alias.asname or top, _module(alias.name if alias.asname else top)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            module = _module(node.module)
            for alias in node.names:
                part = UNKNOWN if module is UNKNOWN else inspect.getattr_static(module, alias.name, UNKNOWN)
                yield alias.asname or alias.name, part


def _module(name: str) -> object:
    if name in sys.modules:
        return sys.modules[name]
    return importlib.import_module(name) if name.partition(".")[0] in sys.stdlib_module_names else UNKNOWN
