"""``python -m wrkflw`` is ``wrkflw``."""

from __future__ import annotations

from wrkflw.cli import main

main()
