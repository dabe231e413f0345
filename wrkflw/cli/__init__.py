"""The command line: ``wrkflw``, which is ``python -m wrkflw``.  Needs the extra: ``wrkflw[server]``.

Exit codes: 0 completed, 1 failed, 2 used wrongly, 3 parked, 130 interrupted.  What a command found out goes to stdout,
what is said beside it to stderr.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn, TextIO

_NEEDED = ("typer", "rich")
_MOMENT = 0.5
"""Seconds in which a thread that has nothing to do has ended."""

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command, and end the process with its exit code.  ``--debug``, anywhere, shows where an error comes from.

    Raises:
        SystemExit: always.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        print(f'wrkflw: the command line needs {" and ".join(missing)}; pip install "wrkflw[server]"', file=sys.stderr)
        raise SystemExit(2)
    from .failures import ended_by
    from .program import program

    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    if arguments is None and not debug:
        warnings.showwarning = _warn
    try:
        program(args=[one for one in given if one != "--debug"], prog_name="wrkflw")
    except SystemExit as end:
        if arguments is None:
            _leave_threads(end.code)
        raise
    except Exception as error:
        if debug:
            raise
        raise SystemExit(ended_by(error)) from None
    raise SystemExit(0)


_OURS = str(Path(__file__).parent.parent)
_show = warnings.showwarning


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning of our own as a sentence; of others, with the line that it is about."""
    if filename.startswith(_OURS):
        print(f"wrkflw: {message}", file=sys.stderr)
    else:
        _show(message, category, filename, lineno, file, line)


def _leave_threads(code: object) -> None:
    """End the process at once where the body of a step, in its thread, would hold it for as long as it likes.

    Its run was released, and others may be at it already.
    """
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join(_MOMENT)
            if thread.is_alive():
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code if isinstance(code, int) else 0)
