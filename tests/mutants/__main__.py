"""The table of the mistakes that are made on purpose, as Markdown: ``python -m tests.mutants``."""

from __future__ import annotations

from .table import markdown

if __name__ == "__main__":
    print(markdown(), end="")
