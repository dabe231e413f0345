"""Commands, as a shell runs them, but in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wrkflw.cli import main

FLOWS = str(Path(__file__).with_name("flows.py"))


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """A shell in a folder of its own."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capture = capture

    def __call__(self, *arguments: str) -> Ended:
        self._capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = self._capture.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ended(code, said.out, said.err)

    def run(self, workflow: str, *arguments: str) -> str:
        """The id of a run that was started and has gone as far as it goes."""
        return str(self("run", f"{FLOWS}:{workflow}", *arguments, "--json").json["run_id"])
