"""What starts runs: schedules, by cron expressions, at equal distances or once; and requests over HTTP.

``cron(campaign, "0 9 * * mon-fri", timezone="Europe/Berlin", input=...)`` gives a workflow a schedule; a Runtime that
lists the workflow, and has a worker, starts its runs, at most one for each instant, whatever the number of processes.
``http(campaign, "POST /signup")`` gives it an endpoint, which :mod:`wrkflw.server` serves.
"""

from __future__ import annotations

from .endpoints import Endpoint, HttpRequest, Verify, http
from .schedules import Fire, Schedule, ScheduleInfo, cron
from .timings import At, Cron, Every, at, every
from .webhooks import StandardWebhooks

__all__ = [
    "At",
    "Cron",
    "Endpoint",
    "Every",
    "Fire",
    "HttpRequest",
    "Schedule",
    "ScheduleInfo",
    "StandardWebhooks",
    "Verify",
    "at",
    "cron",
    "every",
    "http",
]
