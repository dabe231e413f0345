"""Where the e-mail campaign finds things: the one place that reads the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    users: Path
    """The SQLite database of users."""
    smtp_host: str
    smtp_port: int
    sender: str


def settings() -> Settings:
    """What ``CAMPAIGN_USERS``, ``CAMPAIGN_SMTP_HOST``, ``CAMPAIGN_SMTP_PORT`` and ``CAMPAIGN_SENDER`` say now."""
    return Settings(
        users=Path(os.environ.get("CAMPAIGN_USERS", "users.db")),
        smtp_host=os.environ.get("CAMPAIGN_SMTP_HOST", "127.0.0.1"),
        smtp_port=int(os.environ.get("CAMPAIGN_SMTP_PORT", "1025")),
        sender=os.environ.get("CAMPAIGN_SENDER", "hello@example.org"),
    )
