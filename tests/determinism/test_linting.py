"""What is found in the code between steps, and what is let be."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import secrets
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, wraps
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from wrkflw import StepTools, Workflow, create_workflow, step, workflow
from wrkflw import StepTools as Tools
from wrkflw.determinism import lint

Code = Callable[..., Any]
dice = random.Random(7)
counted = 0
GUESTS = frozenset({"ada", "bob"})


@dataclass
class Watch:
    seconds: float

    def time(self) -> float:
        return self.seconds


@step
def double(number: int) -> int:
    return number * 2 + round(time.time() * 0)


@step
async def load(name: str) -> str:
    return name


def said_of(*workflows: Workflow[Any, Any, Any]) -> list[str]:
    """Sentences, without where."""
    return [f"{one.what}; {one.cure}" for one in lint(*workflows)]


# --- one call in a program -------------------------------------------------------------------------------


async def asks_for_the_time(step: StepTools, number: int) -> int:
    return number + datetime.now(UTC).year


async def asks_for_chance(step: StepTools, number: int) -> int:
    return random.choice([number, 1])


async def asks_a_die_that_others_throw(step: StepTools, number: int) -> int:
    return dice.randint(1, number)


async def asks_a_new_die(step: StepTools, number: int) -> int:
    return random.Random().randint(1, number)


async def makes_an_id(step: StepTools, number: int) -> int:
    return number + uuid.uuid4().int


async def makes_a_secret(step: StepTools, number: int) -> str:
    return secrets.token_hex(number)


async def reads_the_environment(step: StepTools, number: int) -> str:
    return os.environ.get("REGION", "")


async def asks_for_the_process(step: StepTools, number: int) -> int:
    return os.getpid()


async def hashes(step: StepTools, number: int) -> int:
    return hash("ada")


async def opens_a_file(step: StepTools, number: int) -> int:
    with open("limits.txt") as file:
        return int(file.read())


async def reads_a_path(step: StepTools, number: int) -> str:
    return Path("limits.txt").read_text()


async def calls_a_program(step: StepTools, number: int) -> int:
    return subprocess.run(["true"], check=False).returncode


async def blocks(step: StepTools, number: int) -> int:
    time.sleep(number)
    return number


async def imports_on_its_own(step: StepTools, number: int) -> float:
    from time import monotonic as now

    return now()


async def calls_a_step(step: StepTools, number: int) -> int:
    return await double(number)


async def does_not_wait(step: StepTools, number: int) -> int:
    step.do("audit", print, number)  # type: ignore[unused-coroutine]  # that is the mistake
    return number


async def does_not_wait_for_patience(step: StepTools, number: int) -> int:
    patient = step.options(timeout="1h")
    patient.sleep("a-while", "1s")  # type: ignore[unused-coroutine]  # that is the mistake
    return number


async def goes_through_a_set(step: StepTools, number: int) -> None:
    for name in {"ada", "bob"}:
        await step.run(load, name)


async def goes_through_a_set_of_the_module(step: StepTools, number: int) -> None:
    for _, name in enumerate(list(GUESTS)):
        await step.run(load, name)


async def goes_through_a_set_that_is_given(step: StepTools, names: set[str]) -> list[str]:
    return [await step.run(load, name) for name in names]


async def gathers_a_set(step: StepTools, number: int) -> None:
    names = set("ada")
    await asyncio.gather(*(step.run(load, name) for name in names))


async def catches_everything(step: StepTools, number: int) -> int:
    try:
        await step.run(load, "ada")
    except BaseException:  # noqa: BLE001
        return 0
    return number


async def counts(step: StepTools, number: int) -> int:
    global counted  # noqa: PLW0603
    counted += 1
    return counted


async def hides_it_in_a_function(step: StepTools, number: int) -> float:
    def now() -> float:
        return time.time()

    return now()


def asked_by_a_program() -> float:
    return asked_by_a_function()


def asked_by_a_function() -> float:
    return time.time()


@cache
def asked_once() -> float:
    return time.time()


def announced(function: Callable[[], float]) -> Callable[[], float]:
    @wraps(function)
    def wrapper() -> float:
        print(time.monotonic())
        return function()

    return wrapper


@announced
def announced_number() -> float:
    return 1.0


class Stamp:
    def __init__(self) -> None:
        self.at = time.time()

    @classmethod
    def now(cls) -> float:
        return time.time()


async def hides_it_in_a_cache(step: StepTools, number: int) -> float:
    return asked_once()


async def hides_it_in_a_wrapper(step: StepTools, number: int) -> float:
    return announced_number()


async def hides_it_in_a_class(step: StepTools, number: int) -> float:
    return Stamp.now()


async def hides_it_in_an_instance(step: StepTools, number: int) -> float:
    return Stamp().at


async def hides_it_behind_its_tools(step: StepTools, number: int) -> None:
    async def inner(tools: Tools, number: int) -> None:
        tools.run(load, "ada")  # type: ignore[unused-coroutine]  # that is the mistake

    await inner(step, number)


async def is_handed_on_and_called(step: StepTools, number: int) -> float:
    def now() -> float:
        return time.time()

    return await step.do("now", now) + now()


async def hides_it_in_the_module(step: StepTools, number: int) -> float:
    return asked_by_a_program()


FOUND: list[tuple[Code, str]] = [
    (asks_for_the_time, "calls 'datetime.now()', which tells another time when the code runs again; use 'step.now()'"),
    (
        asks_for_chance,
        "calls 'random.choice()', which gives something else when the code runs again; use 'step.random()'",
    ),
    (
        asks_a_die_that_others_throw,
        "calls 'dice.randint()', which gives something else when the code runs again; use 'step.random()'",
    ),
    (
        asks_a_new_die,
        "calls 'random.Random()', which gives something else when the code runs again; use 'step.random()'",
    ),
    (makes_an_id, "calls 'uuid.uuid4()', which gives another one when the code runs again; use 'step.uuid()'"),
    (
        makes_a_secret,
        "calls 'secrets.token_hex()', which gives something else when the code runs again; use 'step.random()'",
    ),
    (
        reads_the_environment,
        "uses 'os.environ', which may give something else in another process; "
        "let a step do it, by 'await step.do(...)'",
    ),
    (
        asks_for_the_process,
        "calls 'os.getpid()', which may give something else in another process; "
        "let a step do it, by 'await step.do(...)'",
    ),
    (
        hashes,
        "calls 'hash()', which may give something else in another process; let a step do it, by 'await step.do(...)'",
    ),
    (
        opens_a_file,
        "calls 'open()', which reaches out of the run, and does so each time the code runs; "
        "let a step do it, by 'await step.do(...)'",
    ),
    (
        reads_a_path,
        "calls 'Path('limits.txt').read_text()', which reaches out of the run, and does so each time the code runs; "
        "let a step do it, by 'await step.do(...)'",
    ),
    (
        calls_a_program,
        "calls 'subprocess.run()', which reaches out of the run, and does so each time the code runs; "
        "let a step do it, by 'await step.do(...)'",
    ),
    (
        blocks,
        "calls 'time.sleep()', which holds up every run of the process, each time the code runs; "
        "use 'await step.sleep(...)'",
    ),
    (imports_on_its_own, "calls 'now()', which tells another time when the code runs again; use 'step.now()'"),
    (
        calls_a_step,
        "calls 'double()', which runs its body with nothing recorded, each time the code runs; "
        "use 'await step.run(...)'",
    ),
    (does_not_wait, "calls 'step.do()' and does not wait for it; write 'await step.do(...)'"),
    (does_not_wait_for_patience, "calls 'patient.sleep()' and does not wait for it; write 'await patient.sleep(...)'"),
    (
        goes_through_a_set,
        "calls steps in the order of a set, which may be another one in another process; "
        "write 'sorted({'ada', 'bob'})'",
    ),
    (
        gathers_a_set,
        "calls steps in the order of 'names', a set, which may be another one in another process; "
        "write 'sorted(names)'",
    ),
    (
        goes_through_a_set_of_the_module,
        "calls steps in the order of 'GUESTS', a set, which may be another one in another process; "
        "write 'sorted(GUESTS)'",
    ),
    (
        goes_through_a_set_that_is_given,
        "calls steps in the order of 'names', a set, which may be another one in another process; "
        "write 'sorted(names)'",
    ),
    (
        catches_everything,
        "catches BaseException and goes on, also when it is left by CancelledError because its run parks; "
        "catch Exception, or raise it again",
    ),
    (
        counts,
        "changes 'global counted', which other runs share and a run that is taken up again does not find; "
        "keep it in a local variable, or in a database by a step",
    ),
    (
        hides_it_in_a_function,
        "calls 'time.time()', which tells another time when the code runs again; use 'step.now()'",
    ),
    (hides_it_in_a_cache, "calls 'time.time()', which tells another time when the code runs again; use 'step.now()'"),
    (
        hides_it_in_a_wrapper,
        "calls 'time.monotonic()', which tells another time when the code runs again; use 'step.now()'",
    ),
    (hides_it_in_a_class, "calls 'time.time()', which tells another time when the code runs again; use 'step.now()'"),
    (
        hides_it_in_an_instance,
        "calls 'time.time()', which tells another time when the code runs again; use 'step.now()'",
    ),
    (hides_it_behind_its_tools, "calls 'tools.run()' and does not wait for it; write 'await tools.run(...)'"),
    (
        is_handed_on_and_called,
        "calls 'time.time()', which tells another time when the code runs again; use 'step.now()'",
    ),
    (
        hides_it_in_the_module,
        "calls 'time.time()', which tells another time when the code runs again; use 'step.now()'",
    ),
]


@pytest.mark.parametrize(("code", "sentence"), FOUND, ids=[code.__name__ for code, _ in FOUND])
def test_what_comes_out_otherwise_is_found(code: Code, sentence: str) -> None:
    assert said_of(workflow(code)) == [sentence]


# --- what a program may do -------------------------------------------------------------------------------


async def asks_its_tools(step: StepTools, number: int) -> float:
    return step.now().year + step.random().random() + step.uuid().int


async def hands_it_to_a_step(step: StepTools, number: int) -> float:
    def dated(number: int) -> float:
        return number + time.time()

    first = await step.do("dated", dated, number)
    patient: StepTools = step.options(timeout="1s")
    second = await patient.do("now", lambda: time.time())
    now = lambda: time.time()  # noqa: E731
    second += await step.do("later", now)
    return first + second + await step.do("time", time.time)


async def defines_a_step(tools: StepTools, number: int) -> float:
    @step
    def now(number: int) -> float:
        return time.time()

    return await tools.run(now, number)


async def reckons_with_times_that_are_given(step: StepTools, number: int) -> str:
    return time.ctime(number) + datetime.fromtimestamp(number, UTC).isoformat() + time.strftime("%d", time.gmtime(1))


async def throws_a_die_of_its_own(step: StepTools, number: int) -> int:
    return random.Random(number).randint(1, 6)


async def has_variables_of_these_names(step: StepTools, time: Watch) -> float:
    return time.time() + sum(random.random() for random in [dice])


async def raises_what_others_raise(step: StepTools, number: int) -> int:
    if number > 3:
        raise sqlite3.IntegrityError(HTTPStatus(number).phrase)
    return number


async def imports_what_is_not_there(step: StepTools, number: int) -> int:
    if sys.platform == "win32":
        import winreg

        return len(winreg.__name__)
    return number


async def names_things_of_its_own(step: StepTools, number: int) -> int:
    def open(number: int) -> int:
        return number

    try:
        return open(number)
    except ValueError as uuid:
        return len(uuid.args)


async def is_told_that_a_helper_is_right(step: StepTools, number: int) -> float:
    return asked_for_the_log() + number  # for the log alone  # wrkflw: deterministic


def asked_for_the_log() -> float:
    return time.time()


async def raises_it_again(step: StepTools, number: int) -> int:
    try:
        await step.run(load, "ada")
    except BaseException:
        print("left")
        raise
    return number


async def sorts_a_set(step: StepTools, number: int) -> int:
    names = {"ada", "bob"}
    for name in sorted(names):
        await step.run(load, name)
    for name in names:
        number += len(name)
    return number


async def waits(step: StepTools, number: int) -> None:
    async with asyncio.timeout(number):
        await asyncio.sleep(number)
    task = asyncio.create_task(step.sleep("a-while", "1s"))
    await task


async def is_vouched_for(step: StepTools, number: int) -> int:
    print("it is", time.time())  # for whoever looks on  # wrkflw: deterministic
    return number


LET_BE: list[Code] = [
    asks_its_tools, hands_it_to_a_step, defines_a_step, reckons_with_times_that_are_given, throws_a_die_of_its_own,
    has_variables_of_these_names, raises_what_others_raise, imports_what_is_not_there, names_things_of_its_own,
    raises_it_again, is_told_that_a_helper_is_right, sorts_a_set, waits, is_vouched_for,
]  # fmt: skip


@pytest.mark.parametrize("code", LET_BE, ids=lambda code: code.__name__)
def test_what_comes_out_the_same_is_let_be(code: Code) -> None:
    assert said_of(workflow(code)) == []


# --- chains, and what belongs to a workflow --------------------------------------------------------------


def test_the_functions_of_a_chain_are_read_and_the_bodies_of_its_steps_are_not() -> None:
    chain = (
        create_workflow(id="chain", input_schema=int, output_schema=int)
        .map(lambda number: number + round(time.time()))
        .then(double)
        .do_while(double.with_id("again"), lambda number: number < random.random())
        .branch()
        .when(lambda number: os.getpid() == number, double.with_id("lucky"))
        .otherwise_pass()
        .commit()
    )
    assert said_of(chain) == [
        "calls 'time.time()', which tells another time when the code runs again; let a step before it do that",
        "calls 'random.random()', which gives something else when the code runs again; let a step before it do that",
        "calls 'os.getpid()', which may give something else in another process; let a step before it do that",
    ]


def test_of_two_lambdas_in_a_line_each_is_read_for_itself() -> None:
    numbers = create_workflow(id="numbers", input_schema=int, output_schema=int)
    good, bad = numbers.map(lambda number: number + 1), numbers.map(lambda number: number + round(time.time()))
    assert said_of(good.commit()) == []
    assert len(said_of(bad.commit())) == 1


def test_what_libraries_have_written_is_not_read() -> None:
    """A model that is made, or JSON that is read, is a map as it is."""
    chain = (
        create_workflow(id="chain", input_schema=str, output_schema=int)
        .map(str.upper)
        .map(json.loads)
        .map(Path)
        .map(lambda path: len(path.name))
        .commit()
    )
    assert lint(chain) == []


def test_a_map_may_be_it_itself() -> None:
    chain = create_workflow(id="chain", input_schema=str, output_schema=list[str]).map(os.listdir).commit()
    [finding] = lint(chain)
    assert str(finding) == (
        "workflow 'chain' has 'listdir' as its map 'map-1', which reaches out of the run, and does so each time the "
        "code runs; let a step before it do that"
    )


def test_functions_of_the_files_beside_it_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from wrkflw import StepTools, workflow\n@workflow\nasync def flow(step: StepTools, number: int) -> float:\n"
    code += "    from clock_of_mine import now\n    return now() + number\n"
    (tmp_path / "clock_of_mine.py").write_text("import time\ndef now() -> float:\n    return time.time()\n")
    (tmp_path / "flow_of_mine.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("clock_of_mine")
    [finding] = lint(importlib.import_module("flow_of_mine").flow)
    assert (Path(finding.path).name, finding.line) == ("clock_of_mine.py", 3)


def test_code_that_is_too_deep_to_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"def deep(number: int) -> int:\n    return {' + '.join(['number'] * 1500)}\n"
    (tmp_path / "deep.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    deep = importlib.import_module("deep").deep
    flow = create_workflow(id="deep", input_schema=int, output_schema=int).map(deep).commit()
    assert said_of(flow) == ["has a function 'deep' whose source cannot be read; define it in a file"]


def test_an_object_that_minds_being_looked_at_is_let_be() -> None:
    minds = [True]

    class Settings:
        def __getattribute__(self, name: str) -> Any:
            if minds:
                raise RuntimeError("not configured")
            return object.__getattribute__(self, name)

        def __hash__(self) -> int:
            raise RuntimeError("not configured")

        def __call__(self, number: int) -> int:
            return number

    settings = Settings()

    @workflow
    async def program(step: StepTools, number: int) -> int:
        settings(number)
        limit: int = settings.limit.get(number)
        return limit + round(time.time())

    assert [one.what.partition(",")[0] for one in lint(program)] == ["calls 'time.time()'"]
    minds.clear()  # other tests look at whatever is in memory


def test_only_workflows_are_read() -> None:
    with pytest.raises(TypeError, match=r"is no workflow; pass what .commit\(\) or @workflow gives"):
        lint(asked_by_a_function)  # type: ignore[arg-type]  # not all callers are typed


def test_a_nested_workflow_is_read_in_a_chain_and_in_a_program() -> None:
    inner = create_workflow(id="inner", input_schema=int, output_schema=float).map(lambda _: time.time()).commit()
    chain = create_workflow(id="outer", input_schema=int, output_schema=float).then(inner).commit()

    @workflow
    async def program(step: StepTools, number: int) -> float:
        return await step.run(inner, number)

    assert [one.workflow_id for one in lint(chain)] == ["inner"]
    assert [one.workflow_id for one in lint(program)] == ["inner"]


def test_what_several_workflows_share_is_told_once() -> None:
    one = workflow(hides_it_in_the_module)
    two = workflow(id="another")(hides_it_in_the_module)
    assert len(lint(one, two)) == 1


def test_a_finding_says_where_it_is() -> None:
    [finding] = lint(workflow(blocks))
    assert Path(finding.path) == Path(__file__)
    assert Path(__file__).read_text().splitlines()[finding.line - 1].strip() == "time.sleep(number)"
    where = Path(finding.path).relative_to(Path.cwd())
    assert str(finding).startswith(f"{where}:{finding.line}: workflow 'blocks' calls 'time.sleep()'")


def test_code_without_a_text_is_not_passed_over() -> None:
    made: dict[str, Any] = {"StepTools": StepTools}
    exec("async def made(step: StepTools, number: int) -> int: return number", made)
    assert said_of(workflow(made["made"])) == ["has a function 'made' whose source cannot be read; define it in a file"]


def test_nothing_of_it_is_run() -> None:
    async def fails(step: StepTools, number: int) -> int:
        raise AssertionError(time.time())

    assert len(lint(workflow(fails))) == 1
