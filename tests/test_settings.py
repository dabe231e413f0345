"""Settings (contract §14): what the environment may say, what it says wrong, and who hears of it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from wrkflw import InvalidValueError, Runtime
from wrkflw.engine.limits import Limits
from wrkflw.settings import VARIABLES, Settings
from wrkflw.world import events as e
from wrkflw.world.errors import StoreRefusedError
from wrkflw.world.payloads import INLINE_MAX, PAYLOAD_MAX
from wrkflw.world.retention import DEFAULT_RETENTION
from wrkflw.worlds import SqliteWorld

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("WRKFLW_"):
            monkeypatch.delenv(name)


def test_what_is_not_said_has_its_default() -> None:
    settings = Settings.from_environment({"HOME": "/", "WRKFLW_NAMESPACE": ""})

    assert settings == Settings()
    assert (settings.max_events, settings.payload_max) == (Limits().events, Limits().value_bytes)
    assert (settings.payload_inline_max, settings.payload_max) == (INLINE_MAX, PAYLOAD_MAX)
    assert settings.retention_seconds == DEFAULT_RETENTION.total_seconds()


GOOD: dict[str, tuple[str, object]] = {
    "WRKFLW_DATABASE_URL": ("sqlite:////var/app.db", "sqlite:////var/app.db"),
    "WRKFLW_NAMESPACE": ("shop2", "shop2"),
    "WRKFLW_ROLE": ("producer", "producer"),
    "WRKFLW_RECOVER": ("False", False),
    "WRKFLW_DEPLOYMENT_ID": ("dpl_7", "dpl_7"),
    "WRKFLW_OWNER_ID": ("team-a", "team-a"),
    "WRKFLW_PROJECT_ID": ("shop", "shop"),
    "WRKFLW_ENVIRONMENT": ("production", "production"),
    "WRKFLW_PAYLOAD_INLINE_MAX": ("0", 0),
    "WRKFLW_PAYLOAD_MAX": ("33554432", 33554432),
    "WRKFLW_BLOB_URL": ("file:///var/blobs", "file:///var/blobs"),
    "WRKFLW_MAX_EVENTS": ("100", 100),
    "WRKFLW_MAX_DELIVERIES": ("1", 1),
    "WRKFLW_WORKER_CONCURRENCY": ("16", 16),
    "WRKFLW_LEASE_SECONDS": ("0.5", 0.5),
    "WRKFLW_POLL_SECONDS": ("60", 60.0),
    "WRKFLW_RETENTION_SECONDS": ("forever", None),
    "WRKFLW_DURABILITY": ("normal", "normal"),
}


def test_every_variable_sets_its_field() -> None:
    settings = Settings.from_environment({name: text for name, (text, _) in GOOD.items()})

    assert GOOD.keys() == {variable.name for variable in VARIABLES}
    for variable in VARIABLES:
        assert getattr(settings, variable.field) == GOOD[variable.name][1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("WRKFLW_NAMESPACE", "My Shop"),
        ("WRKFLW_ROLE", "boss"),
        ("WRKFLW_RECOVER", "perhaps"),
        ("WRKFLW_ENVIRONMENT", "pro duction"),
        ("WRKFLW_DATABASE_URL", "sqlite:///a\n.db"),
        ("WRKFLW_MAX_EVENTS", "0"),
        ("WRKFLW_MAX_EVENTS", "many"),
        ("WRKFLW_MAX_EVENTS", "1e3"),
        ("WRKFLW_LEASE_SECONDS", "0"),
        ("WRKFLW_POLL_SECONDS", "1e-320"),
        ("WRKFLW_LEASE_SECONDS", "nan"),
        ("WRKFLW_LEASE_SECONDS", "inf"),
        ("WRKFLW_RETENTION_SECONDS", "-1"),
        ("WRKFLW_DURABILITY", "none"),
    ],
)
def test_a_value_that_may_not_be_is_refused_in_words(name: str, text: str) -> None:
    (variable,) = (variable for variable in VARIABLES if variable.name == name)

    with pytest.raises(InvalidValueError) as refused:
        Settings.from_environment({name: text})

    assert str(refused.value) == f"{name} cannot be {text!r}; give {variable.kind.allowed}"
    assert refused.value.what == name


def test_a_sentence_about_a_setting() -> None:
    with pytest.raises(InvalidValueError, match=r"^WRKFLW_ROLE cannot be 'boss'; give 'both', 'producer' or 'worker'$"):
        Settings.from_environment({"WRKFLW_ROLE": "boss"})


def test_names_that_are_no_settings_are_told() -> None:
    with pytest.warns(UserWarning, match="is no setting of wrkflw") as told:
        Settings.from_environment({"WRKFLW_NAMESPASE": "a", "WRKFLW_ZZZ": "b", "OWNER_ID": "c"})

    assert [str(warning.message) for warning in told] == [
        "WRKFLW_NAMESPASE is no setting of wrkflw; did you mean WRKFLW_NAMESPACE?",
        "WRKFLW_ZZZ is no setting of wrkflw; remove it",
    ]


def test_a_warning_comes_once_however_many_runtimes_there_are() -> None:
    code = "from wrkflw import Runtime\nfor _ in range(3): Runtime(':memory:')"

    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "WRKFLW_NAMESPASE": "a"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stderr.count("WRKFLW_NAMESPASE is no setting") == 1


# --- who uses them -----------------------------------------------------------------------------------


async def test_a_runtime_takes_what_it_is_not_given_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WRKFLW_DATABASE_URL", f"sqlite:///{tmp_path / 'env.db'}")
    monkeypatch.setenv("WRKFLW_MAX_EVENTS", "3")
    monkeypatch.setenv("WRKFLW_NAMESPACE", "shop")
    monkeypatch.setenv("WRKFLW_ENVIRONMENT", "staging")
    monkeypatch.setenv("WRKFLW_DEPLOYMENT_ID", "dpl_7")

    async with Runtime() as runtime:
        storage = runtime.world.storage
        created = await storage.events.create(None, e.RunCreated(workflow_name="greet"))
        hook = await storage.hooks.create(created.run.run_id, {"token": "t"})
        deployment = runtime.world.get_deployment_id()

    assert (runtime.limits.events, created.max_events) == (3, 3)
    assert (hook.owner_id, hook.environment, deployment) == ("local", "staging", "dpl_7")
    elsewhere = SqliteWorld(tmp_path / "env.db")
    await elsewhere.start()
    assert (await elsewhere.storage.runs.list()).data == []
    await elsewhere.close()


async def test_an_argument_wins_over_its_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WRKFLW_DATABASE_URL", f"sqlite:///{tmp_path / 'env.db'}")
    monkeypatch.setenv("WRKFLW_MAX_EVENTS", "3")

    async with Runtime(f"sqlite:///{tmp_path / 'given.db'}", limits=Limits(events=7)) as runtime:
        assert runtime.limits.events == 7

    assert databases_in(tmp_path) == ["given.db"]


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ({"database": ""}, "database= cannot be ''; give a text without control characters"),
        ({"concurrency": 0}, "concurrency= cannot be 0; give a whole number from 1 to 100,000"),
        ({"concurrency": 1.5}, "concurrency= cannot be 1.5; give a whole number from 1 to 100,000"),
        ({"durability": "FULL"}, "durability= cannot be 'FULL'; give 'full' or 'normal'"),
        (
            {"namespace": "My Shop"},
            "namespace= cannot be 'My Shop'; give small letters and digits, a letter first, at most 63",
        ),
        ({"lease": "0s"}, "lease= cannot be '0s'; give more than 0s"),
        (
            {"world": SqliteWorld(":memory:"), "lease": "1m"},
            "lease= has no effect beside world=; give it to that World",
        ),
        (
            {"world": SqliteWorld(":memory:"), "codec": "any"},
            "codec= has no effect beside world=; give it to that World",
        ),
    ],
)
def test_an_argument_that_may_not_be_is_refused_in_words(argument: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        Runtime(**argument)

    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("app.db", "'app.db' is not a database this version knows; use 'sqlite:///path/to/file.db' or ':memory:'"),
        (
            "postgresql://ada:secret@db/app",
            "'postgresql://…' is not a database this version knows; use 'sqlite:///path/to/file.db' or ':memory:'",
        ),
        (
            "sqlite:///app.db?mode=ro",
            "'sqlite:///app.db?mode=ro' has options, and a SQLite file takes none; leave out what is behind '?'",
        ),
    ],
)
def test_a_url_of_no_database_is_refused_without_its_password(url: str, sentence: str) -> None:
    with pytest.raises(StoreRefusedError) as refused:
        Runtime(url)

    assert str(refused.value) == sentence


def databases_in(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.db")]


# --- the page ----------------------------------------------------------------------------------------


def test_the_page_has_a_row_for_each_variable() -> None:
    def shown(default: object) -> str:
        return "" if default is None else f"`{str(default).lower() if isinstance(default, bool) else default}`"

    rows = [
        f"| `{one.name}` | {shown(one.default)} | {one.kind.allowed} | {one.meaning} |" for one in VARIABLES
    ]  # fmt: skip

    table = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert table == rows


def test_the_page_names_every_limit() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert [limit.name for limit in fields(Limits) if f"`{limit.name}` of " not in page] == []
