"""What starts the workflows of this repository: one runnable module for each kind of trigger.

``cron_trigger`` keeps schedules. ``http_trigger`` and ``email_trigger`` come with the HTTP and e-mail triggers of the
library; see ``PLAN.md``.
"""
