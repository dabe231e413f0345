"""The users of the e-mail campaign, in a SQLite database of their own: an ordinary table, nothing to do with runs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

SIGNED_UP = {
    "1": ("Ada Lovelace", "ada@example.org"),
    "2": ("Alan Turing", "alan@example.org"),
    "3": ("Grace Hopper", "grace@example.org"),
    "4": ("Edsger Dijkstra", "edsger@example.org"),
    "5": ("Barbara Liskov", "barbara@example.org"),
    "6": ("Donald Knuth", "donald@example.org"),
}


def prepare(database: Path) -> None:
    """Make the table, with a handful of users; one that exists stays as it is."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, name TEXT, email TEXT)")
        rows = [(user_id, name, email) for user_id, (name, email) in SIGNED_UP.items()]
        connection.executemany("INSERT OR IGNORE INTO users VALUES (?, ?, ?)", rows)


def find(database: Path, user_id: str) -> tuple[str, str] | None:
    """Name and e-mail address."""
    with closing(sqlite3.connect(database)) as connection:
        row: tuple[str, str] | None = connection.execute(
            "SELECT name, email FROM users WHERE id = ?", (user_id,)
        ).fetchone()
    return row
