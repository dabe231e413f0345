"""Worlds that are broken on purpose, each in one way: the conformance suite must notice every one."""

from . import cursors, owners_and_reads, schedules, storage, streams_and_queue

PARTS = (storage, owners_and_reads, streams_and_queue, schedules, cursors)
"""Each tells ``defects.DEFECTS`` of its own when it is imported: so whoever imports that knows all of them."""
