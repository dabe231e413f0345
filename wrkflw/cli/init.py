"""``wrkflw init``: a small project that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FLOWS = '''\
"""A workflow: greet somebody, wait a moment, and ask whether they are well."""

from pydantic import BaseModel

from wrkflw import Retry, SuspendContext, create_workflow, step


class Person(BaseModel):
    name: str


class Greeting(BaseModel):
    text: str


class Answer(BaseModel):
    is_well: bool


@step(retry=Retry(attempts=3, delay="1s"))
async def greet(person: Person) -> Greeting:
    return Greeting(text=f"Hello, {person.name}!")


@step
def ask(greeting: Greeting, ctx: SuspendContext[Answer, str]) -> Greeting:
    answer = ctx.suspend(f"{greeting.text} Are you well?")  # the run waits here, for as long as it takes
    return Greeting(text=f"{greeting.text} {'Good to hear.' if answer.is_well else 'Get well soon.'}")


hello = (
    create_workflow(id="hello", input_schema=Person, output_schema=Greeting)
    .then(greet)
    .sleep("1s", id="breath")
    .commit()
)

visit = create_workflow(id="visit", input_schema=Person, output_schema=Greeting).then(hello).then(ask).commit()
'''

TESTS = '''\
"""Time passes only when a test says so; nothing here sleeps."""

from flows import Answer, Greeting, Person, ask, hello, visit
from wrkflw import Suspended
from wrkflw.determinism import lint
from wrkflw.testing import TestRuntime


async def test_who_says_a_name_is_greeted() -> None:
    async with TestRuntime() as rt:
        run = await hello.create_run()
        await run.start(Person(name="Ada"))
        await rt.advance("1s")

        assert (await run.result()).unwrap() == Greeting(text="Hello, Ada!")


async def test_who_is_asked_may_take_their_time() -> None:
    async with TestRuntime() as rt:
        run = await visit.create_run()
        await run.start(Person(name="Ada"))
        await rt.advance("7d")
        assert isinstance(await run.result(), Suspended)

        result = await run.resume(ask, Answer(is_well=True))

        assert result.unwrap() == Greeting(text="Hello, Ada! Good to hear.")


def test_between_steps_nothing_comes_out_otherwise_the_next_time() -> None:
    assert lint(hello, visit) == []
'''

PROJECT = """\
[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["wrkflw[server]"]

[project.optional-dependencies]
dev = ["pytest>=9", "pytest-asyncio>=1.5"]

[tool.setuptools]
py-modules = ["flows"]

[tool.wrkflw]
workflows = ["flows"]  # what wrkflw takes where no TARGET is given

[tool.pytest.ini_options]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
pythonpath = ["."]
"""

IGNORED = """\
wrkflw.db*
__pycache__/
.venv/
"""

_FILES = {"flows.py": FLOWS, "test_flows.py": TESTS, "pyproject.toml": PROJECT, ".gitignore": IGNORED}


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to; it is made if need be.", show_default=False)
    ] = Path(),
) -> None:
    """Write a small project that runs.

    Two workflows, and tests of them.  Nothing that is there is touched."""
    from .failures import MisuseError
    from .screen import say

    if taken := [name for name in _FILES if (folder / name).exists()]:
        raise MisuseError(f"{folder.resolve()} has {', '.join(taken)} already; name a folder without")
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(one if one.isascii() and one.isalnum() else "-" for one in folder.resolve().name.lower()).strip("-")
    for file, text in _FILES.items():
        (folder / file).write_text(
            text.replace("{name}", name or "flows") if file == "pyproject.toml" else text, "utf-8"
        )
    enter = "" if folder == Path() else f"  cd {folder}\n"
    say(
        f"{', '.join(_FILES)} are written; now\n{enter}"
        "  wrkflw run flows:hello name=Ada\n"
        "  wrkflw run flows:visit name=Ada\n"
        "  wrkflw dev\n"
        "  pytest"
    )
