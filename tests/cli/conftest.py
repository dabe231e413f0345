"""A shell in an empty folder, whose imports are forgotten afterwards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .command import Shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "flows", raising=False)
    return Shell(tmp_path, capsys)
