"""What code between steps calls that comes out otherwise when it runs again: found by reading it, not by running it."""

from __future__ import annotations

from .linting import Finding, lint

__all__ = ["Finding", "lint"]
