"""Guesses at what was meant, for messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str], write: Callable[[str], str] = repr) -> str:
    """``; did you mean 'retry'?`` when something known is close to ``word``, else nothing.

    ``write`` puts the guess into words, where it is not the quoted word itself.
    """
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {write(close[0])}?" if close else ""
