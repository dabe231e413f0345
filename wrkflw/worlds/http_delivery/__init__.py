"""Delivering messages over HTTP: an endpoint that takes them, and a dispatcher that sends them there."""

from __future__ import annotations

from .dispatcher import HttpDispatcher
from .endpoint import create_queue_handler

__all__ = ["HttpDispatcher", "create_queue_handler"]
