"""Moments on a command line: a day, or a time of it, in UTC unless it says otherwise."""

from __future__ import annotations

from datetime import UTC, datetime

import typer


def moment_of(text: str) -> datetime:
    """With its timezone, which is UTC where none was written.  Raises BadParameter when it is no moment."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time; write 2026-01-31 or 2026-01-31T09:30:00, with +01:00 behind it where it is not UTC"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
