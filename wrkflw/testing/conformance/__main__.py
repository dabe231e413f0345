"""``python -m wrkflw.testing.conformance sqlite:///x.db``, or ``package.module:make`` for a World of your own."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from . import run
from .worlds import Maker

_USAGE = "usage: python -m wrkflw.testing.conformance sqlite:///:memory: | sqlite:///x.db | package.module:make"


def main(arguments: Sequence[str]) -> int:
    """Print the report; 1 when a check has failed, 2 when there was nothing to check."""
    if len(arguments) != 1:
        print(_USAGE, file=sys.stderr)
        return 2
    try:
        make = maker_of(arguments[0])
    except LookupError as error:
        print(f"{error.args[0]}\n{_USAGE}", file=sys.stderr)
        return 2
    logging.disable()  # handlers fail on purpose, and Worlds say so
    report = asyncio.run(run(make))
    print(report)
    return 1 if report.failed else 0


def maker_of(target: str) -> Maker:
    """What makes stores.  Those of ``sqlite:///x.db`` lie beside ``x.db``, which itself is not touched.

    Raises LookupError where there is none.
    """
    if target.startswith("sqlite:///"):
        from .sqlite import in_files, in_memory  # noqa: PLC0415  # another World need not have this one's drivers

        path = target.removeprefix("sqlite:///")
        return in_memory if path == ":memory:" else partial(in_files, Path(path).absolute().parent)
    module, _, name = target.partition(":")
    if not name or importlib.util.find_spec(module.partition(".")[0]) is None:
        raise LookupError(f"{target!r} is neither a database nor a module that can be found from here")
    make: Maker | None = getattr(importlib.import_module(module), name, None)
    if make is None:
        raise LookupError(f"module {module!r} has no {name!r}")
    return make


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
