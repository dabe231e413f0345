"""The functions in what a workflow holds or calls, and the text of each."""

from __future__ import annotations

import ast
import inspect
import linecache
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import TypeAlias, cast

Written: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_DETERMINISTIC = "wrkflw: deterministic"
_LIBRARIES = tuple(Path(sysconfig.get_path(which)) for which in ("purelib", "platlib"))
_PYTHON = Path(sysconfig.get_path("stdlib"))


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


def functions_in(called: object) -> Iterator[FunctionType]:
    """What is run, of what is written in Python, when it is called: it, what it wraps, and what makes an instance."""
    with suppress(Exception):  # of an object of the user's that does not want to be looked at
        for each in _unwrapped(called):
            if isinstance(each, FunctionType):
                yield each
            elif isinstance(each, type):
                yield from _written(inspect.getattr_static(cast("type[object]", each), "__init__", None))
            else:
                yield from _written(inspect.getattr_static(type(each), "__call__", None))


def _unwrapped(called: object) -> Iterator[object]:
    """It, and what ``partial``, ``functools.wraps`` and ``functools.cache`` have put it around."""
    while called is not None:
        if isinstance(called, partial):
            called = cast("partial[object]", called).func
        elif isinstance(called, MethodType):
            called = called.__func__
        else:
            yield called
            called = None if isinstance(called, type) else getattr(called, "__wrapped__", None)


def _written(function: object) -> Iterator[FunctionType]:
    if isinstance(function, FunctionType):
        yield function


def path_of(function: FunctionType) -> str:
    return inspect.getsourcefile(function) or function.__code__.co_filename


def is_of(function: FunctionType, homes: frozenset[str]) -> bool:
    """Whether it belongs to the user: to no library, or to one of these packages, which may be installed as well."""
    path = Path(path_of(function))
    if any(path.is_relative_to(folder) for folder in _LIBRARIES):
        return package_of(function) in homes
    return not path.is_relative_to(_PYTHON)


def package_of(function: FunctionType) -> str:
    return str(function.__module__).partition(".")[0]  # of what exec() has made it may be None


def is_vouched_for(path: str, first: int, last: int) -> bool:
    """Whether its author has said ``# wrkflw: deterministic`` in one of these lines."""
    return any(_DETERMINISTIC in linecache.getline(path, line).partition("#")[2] for line in range(first, last + 1))


def _functions_in(text: str) -> list[Written]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # somebody is writing in it
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
