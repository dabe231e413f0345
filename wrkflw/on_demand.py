"""Names of a package that are loaded when they are first asked for: its ``__getattr__`` (PEP 562).

Checkers see the names themselves and no ``__getattr__``: else they would take every misspelt name for one of these.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping


def loaded_from(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """What loads the names of ``package``; ``modules`` says in which of its modules each stands.

    From now on ``dir()`` of the package tells what it exports, whether that is loaded or not.
    """
    loaded = vars(sys.modules[package])

    def load(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module(f".{modules[name]}", package), name)
        loaded[name] = value
        return value

    loaded["__dir__"] = lambda: [*loaded["__all__"], *(name for name in loaded if name.startswith("__"))]
    return load
