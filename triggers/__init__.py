"""What starts the workflows of this repository: one runnable module for each kind of trigger.

There is none yet. ``http_trigger``, ``cron_trigger`` and ``email_trigger`` come with the HTTP, cron and e-mail triggers
of the library; see ``PLAN.md``. Until then runs are started from Python, as the modules in ``examples`` do.
"""
