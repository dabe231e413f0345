"""What starts the workflows of this repository: one runnable module for each kind of trigger.

``cron_trigger`` keeps schedules, ``http_trigger`` serves endpoints, ``email_trigger`` takes mail in.
"""
