"""The trigger module of this repository runs as a program of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_mail_of_this_deployment_starts_a_run(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "triggers.email_trigger"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "WRKFLW_DATABASE_URL": f"sqlite:///{tmp_path / 'app.db'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    expected = r"taking mail in for greetings@, on port \d+\nanswered: .*2\.0\.0 taken\nwrun_\w{26}: Hello, Ada!\n"
    assert re.fullmatch(expected, ran.stdout), ran.stdout
