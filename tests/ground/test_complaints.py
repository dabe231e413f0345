"""What the engine logs is heard without any configuration, and never waited for."""

from __future__ import annotations

import io
import logging
import os
import sys
from contextlib import suppress

import pytest

from wrkflw import complaints

log = logging.getLogger("wrkflw")


def unconfigured(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has configured no logging; pytest has, as each test begins."""
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "handlers", [])
    complaints.be_heard()
    complaints.be_heard()


def test_a_complaint_is_heard_once_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    unconfigured(monkeypatch)
    monkeypatch.setattr(sys, "stderr", heard := io.StringIO())

    log.info("all is well")
    log.warning("run %s is late", "r-1")

    assert heard.getvalue() == "run r-1 is late\n"


def test_a_complaint_that_finds_no_room_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    unconfigured(monkeypatch)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    with os.fdopen(reading, "rb", buffering=0) as pipe, os.fdopen(writing, "w") as full:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", full)

            log.warning("nobody hears this")  # it would be held here

        full.close()
        assert b"nobody" not in pipe.readall()


def test_who_has_a_handler_of_his_own_hears_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    unconfigured(monkeypatch)
    monkeypatch.setattr(sys, "stderr", heard := io.StringIO())
    handler = logging.StreamHandler(own := io.StringIO())
    log.addHandler(handler)

    log.warning("once")
    log.removeHandler(handler)

    assert (own.getvalue(), heard.getvalue()) == ("once\n", "")
