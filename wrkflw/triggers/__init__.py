"""What starts runs: schedules, by cron expressions, at equal distances or once; requests over HTTP; and mail.

``cron(campaign, "0 9 * * mon-fri", timezone="Europe/Berlin", input=...)`` gives a workflow a schedule; a Runtime that
lists the workflow, and has a worker, starts its runs, at most one for each instant, whatever the number of processes.
``http(campaign, "POST /signup")`` gives it an endpoint, which :mod:`wrkflw.server` serves.
``email(triage, "invoices@*", input=...)`` lets mail start its runs, and ``reply(...)`` answer them, where
:mod:`wrkflw.mail` takes mail in.
"""

from __future__ import annotations

from .email_routes import EmailRoute, ReplyRoute, email, reply
from .emails import Attachment, Authentication, Email
from .endpoints import Endpoint, HttpRequest, Verify, http
from .schedules import Fire, Schedule, ScheduleInfo, cron
from .timings import At, Cron, Every, at, every
from .webhooks import StandardWebhooks

__all__ = [
    "At",
    "Attachment",
    "Authentication",
    "Cron",
    "Email",
    "EmailRoute",
    "Endpoint",
    "Every",
    "Fire",
    "HttpRequest",
    "ReplyRoute",
    "Schedule",
    "ScheduleInfo",
    "StandardWebhooks",
    "Verify",
    "at",
    "cron",
    "email",
    "every",
    "http",
    "reply",
]
