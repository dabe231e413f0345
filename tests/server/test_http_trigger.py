"""The trigger module of this repository runs as a program of its own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_endpoints_of_this_deployment_start_runs(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "triggers.http_trigger"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "WRKFLW_DATABASE_URL": f"sqlite:///{tmp_path / 'app.db'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[1:] == ["Hello, world!", "Hello, webhook!"]
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        keys = [key for (key,) in connection.execute("SELECT idempotency_key FROM runs ORDER BY rowid")]
    assert keys == [None, "http:POST /webhook:msg_1"]
