"""The text of a function, as a tree."""

from __future__ import annotations

import ast
import inspect
import linecache
from types import CodeType, FunctionType
from typing import TypeAlias

Written: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_DETERMINISTIC = "wrkflw: deterministic"


class Sources:
    """Files are read once."""

    def __init__(self) -> None:
        self._trees: dict[str, list[Written]] = {}

    def tree_of(self, function: FunctionType) -> Written | None:
        """None when there is no text of it, or the text is another one by now."""
        code = function.__code__
        path = path_of(function)
        if path not in self._trees:
            self._trees[path] = _functions_in("".join(linecache.getlines(path, function.__globals__)))
        found = [one for one in self._trees[path] if _is_from(one, code)]
        return max(found, key=lambda one: _covered(one, code), default=None)


def path_of(function: FunctionType) -> str:
    return inspect.getsourcefile(function) or function.__code__.co_filename


def is_vouched_for(path: str, line: int) -> bool:
    """Whether its author has said ``# wrkflw: deterministic`` there."""
    return _DETERMINISTIC in linecache.getline(path, line).partition("#")[2]


def _functions_in(text: str) -> list[Written]:
    try:
        tree = ast.parse(text)
    except SyntaxError:  # somebody is writing in it
        return []
    return [node for node in ast.walk(tree) if isinstance(node, Written)]


def _is_from(written: Written, code: CodeType) -> bool:
    if isinstance(written, ast.Lambda):
        return code.co_name == "<lambda>" and written.lineno == code.co_firstlineno
    first = min([written.lineno, *(decorator.lineno for decorator in written.decorator_list)])
    return written.name == code.co_name and first == code.co_firstlineno


def _covered(written: Written, code: CodeType) -> int:
    """How much of the code comes from there: several lambdas may stand in one line."""
    if not isinstance(written, ast.Lambda):
        return 0
    body = written.body
    first, last = (body.lineno, body.col_offset), (body.end_lineno or 0, body.end_col_offset or 0)
    covered = 0
    for line, end_line, column, end_column in code.co_positions():
        if line is None or end_line is None or column is None or end_column is None:
            continue
        covered += 1 if first <= (line, column) and (end_line, end_column) <= last else -1
    return covered
