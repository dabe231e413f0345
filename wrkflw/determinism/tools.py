"""Which names of a function are ``step``, and what is handed to it as a body."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from wrkflw.imperative import StepTools

from .naming import Names
from .sources import Written


class Tools:
    """Of a function, and of those within it.

    ``is_program``: its first parameter is the tools, whatever it is annotated with.
    """

    def __init__(self, tree: Written, names: Names, *, is_program: bool) -> None:
        self._names = names
        self._found = set(self._parameters(tree))
        if is_program:
            self._found.update(one.arg for one in (*tree.args.posonlyargs, *tree.args.args)[:1])
        for name, value in _given_in(tree):
            if self._is_tools(value):
                self._found.add(name)
        self._bodies = set(self._handed_in(tree)) - {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }

    def has(self, called: ast.expr) -> bool:
        """Whether it is a method of ``step``, or of what ``step.options()`` gives."""
        return isinstance(called, ast.Attribute) and self._is_tools(called.value)

    def are_called_in(self, *trees: ast.AST) -> bool:
        return any(isinstance(node, ast.Call) and self.has(node.func) for tree in trees for node in ast.walk(tree))

    def is_body(self, name: str) -> bool:
        """Whether what has that name is only ever handed to a step."""
        return name in self._bodies

    def _is_tools(self, value: ast.expr) -> bool:
        match value:
            case ast.Name(id=name):
                return name in self._found
            case ast.Call(func=ast.Attribute(value=tools, attr="options")):
                return self._is_tools(tools)
            case _:
                return False

    def _parameters(self, tree: ast.AST) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.arg) and node.annotation is not None and self._says_tools(node.annotation):
                yield node.arg

    def _says_tools(self, form: ast.expr) -> bool:
        if isinstance(form, ast.Constant) and isinstance(form.value, str):
            try:
                form = ast.parse(form.value, mode="eval").body
            except SyntaxError:
                return False
        return self._names.of(form) is StepTools or ast.unparse(form).rpartition(".")[2] == "StepTools"

    def _handed_in(self, tree: ast.AST) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and self.has(node.func):
                yield from (one.id for one in node.args if isinstance(one, ast.Name))


def _given_in(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value
            case _:
                pass
