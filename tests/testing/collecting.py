"""Running pytest on a module of its own, with wrkflw's plugin and no other configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
[pytest]
asyncio_mode = {mode}
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def collect(folder: Path, code: str, *options: str, mode: Literal["auto", "strict"]) -> str:
    """What pytest says of the tests in ``code``, all of which pass."""
    (folder / "test_module.py").write_text(code, encoding="utf-8")
    (folder / "pytest.ini").write_text(SETTINGS.format(mode=mode), encoding="utf-8")
    plugins = ["-p", "pytest_asyncio.plugin", "-p", "_wrkflw_pytest"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
