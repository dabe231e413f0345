"""What the packages export, and what importing and running them loads."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import wrkflw

DATABASE = {"sqlmodel", "sqlalchemy", "alembic"}
HEAVY = DATABASE | {"apscheduler", "fastapi", "typer", "rich", "procrastinate", "psycopg", "aiosmtpd"}

DEFINE = """
from wrkflw import create_workflow, step

@step
async def add_one(number: int) -> int:
    return number + 1

counting = create_workflow(id="counting", input_schema=int, output_schema=int).then(add_one).commit()
"""

RUN = """
assert counting.run_sync(1) == 2
"""

REPORT = """
import sys
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def packages() -> Iterator[ModuleType]:
    yield wrkflw
    for found in pkgutil.walk_packages(wrkflw.__path__, "wrkflw."):
        if found.ispkg and ".versions" not in found.name:
            yield importlib.import_module(found.name)


def submodules(package: ModuleType) -> set[str]:
    return {found.name for found in pkgutil.iter_modules(package.__path__)}


def exported(package: ModuleType) -> list[str]:
    return list(getattr(package, "__all__", ()))


PACKAGES = [pytest.param(package, id=package.__name__) for package in packages()]


def test_the_root_package_exports_something() -> None:
    assert exported(wrkflw)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_is_exported_twice(package: ModuleType) -> None:
    assert len(exported(package)) == len(set(exported(package)))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_exported_name_is_there(package: ModuleType) -> None:
    missing = [name for name in exported(package) if not hasattr(package, name)]

    assert missing == []


def test_dir_tells_what_is_loaded_on_demand_and_no_modules() -> None:
    told = [name for name in dir(wrkflw) if not name.startswith("__")]

    assert told == sorted(exported(wrkflw))


def test_every_public_name_of_the_root_package_is_exported() -> None:
    public = {name for name, value in vars(wrkflw).items() if not name.startswith("_") and is_ours(value)}

    assert public - set(exported(wrkflw)) == set()


def test_every_error_is_exported() -> None:
    errors = importlib.import_module("wrkflw.errors")
    family = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == errors.__name__
    }

    assert {name for name in family if not name.startswith("_")} - set(exported(wrkflw)) == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_export_is_called_like_a_submodule(package: ModuleType) -> None:
    # The submodule, once imported, would replace the exported object.
    assert set(exported(package)) & submodules(package) == set()


def test_defining_a_workflow_loads_nothing_heavy(tmp_path: Path) -> None:
    loaded = modules_loaded_by(DEFINE, tmp_path)

    assert loaded & HEAVY == set()


def test_the_first_result_on_a_fresh_database_needs_no_orm(tmp_path: Path) -> None:
    loaded = modules_loaded_by(DEFINE + RUN, tmp_path)

    assert loaded & DATABASE == set()
    assert (tmp_path / "fresh.db").exists()


def is_ours(value: object) -> bool:
    module = getattr(value, "__module__", None)
    return not isinstance(value, ModuleType) and isinstance(module, str) and module.partition(".")[0] == "wrkflw"


def modules_loaded_by(program: str, folder: Path) -> set[str]:
    """Run the program as a file in a fresh interpreter, and tell the top-level modules it loaded."""
    script = folder / "program.py"
    script.write_text(program + REPORT, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env={**os.environ, "WRKFLW_DATABASE_URL": f"sqlite:///{folder / 'fresh.db'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.split())
