from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from wrkflw.world.errors import StoreRefusedError
from wrkflw.world.events import RunCreated, StepCompleted, StepCreated
from wrkflw.worlds.sql import compiled, compiling, schema
from wrkflw.worlds.sql.database import Connection
from wrkflw.worlds.sql.migrations.upgrade import upgrade
from wrkflw.worlds.sql.statement import Statement
from wrkflw.worlds.sql.statements import STATEMENTS
from wrkflw.worlds.sqlite import SqliteWorld

A_RUN = """
    INSERT INTO runs (run_id, namespace, workflow_name, status, created_at, updated_at, last_slot, spec_version,
                      deployment_id, epoch, seen_slot)
    VALUES ('wrun_old', 'default', 'greet', 'pending', 1, 1, 1, 1, 'dpl_local', 0, 0)
"""
AN_EVENT = "INSERT INTO events (run_no, slot, event_type, payload, created_at) VALUES (1, 1, 'run_created', x'00ff', 1)"


def prepare(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as driver:
        schema.prepare(Connection(driver), path)


def everything_in(path: Path) -> dict[str, str]:
    """Every table and index of the database as it was written down; blanks, and quotes round names, evened out."""
    with closing(sqlite3.connect(path)) as driver:
        rows = driver.execute("SELECT name, sql FROM sqlite_master").fetchall()
    return {name: " ".join((sql or "").replace('"', "").split()) for name, sql in rows}


def version_of(path: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(path)) as driver:
        return driver.execute("SELECT version_num FROM wrkflw_version").fetchall()


def execute(path: Path, *texts: str) -> None:
    with closing(sqlite3.connect(path)) as driver, driver:
        for text in texts:
            driver.execute(text)


def test_an_empty_file_gets_the_present_schema(tmp_path: Path) -> None:
    prepare(tmp_path / "new.db")

    assert version_of(tmp_path / "new.db") == [(schema.REVISIONS[-1],)]


def test_the_migrations_lead_to_the_schema_that_a_new_file_gets(tmp_path: Path) -> None:
    prepare(tmp_path / "new.db")
    upgrade(tmp_path / "migrated.db")

    assert everything_in(tmp_path / "migrated.db") == everything_in(tmp_path / "new.db")
    assert version_of(tmp_path / "migrated.db") == version_of(tmp_path / "new.db")


def test_an_old_database_is_migrated_and_keeps_its_data(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    upgrade(path, "0001")
    execute(path, A_RUN, AN_EVENT)
    assert "hooks" not in everything_in(path)

    prepare(path)

    prepare(tmp_path / "new.db")
    assert everything_in(path) == everything_in(tmp_path / "new.db")
    with closing(sqlite3.connect(path)) as driver:
        assert driver.execute("SELECT run_no, run_id FROM runs").fetchall() == [(1, "wrun_old")]
        assert driver.execute("SELECT slot, payload FROM events").fetchall() == [(1, b"\x00\xff")]


def test_signals_that_nobody_took_are_found_by_the_migration(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    upgrade(path, "0002")
    signal = (
        "INSERT INTO events (run_no, slot, event_type, data, created_at) VALUES (1, {}, 'signal_received', '{}', 1)"
    )
    waits = "INSERT INTO waits (run_no, wait_id, kind, status, created_slot, signal_type, matched_slot) VALUES "
    execute(
        path,
        A_RUN,
        AN_EVENT,
        *(signal.format(slot, '{"signal_type":"paid"}') for slot in (2, 3, 4)),
        f"{waits} (1, 'w1', 'signal', 'waiting', 5, 'paid', 3), (1, 'w2', 'signal', 'completed', 6, 'paid', NULL)",
    )

    prepare(path)

    with closing(sqlite3.connect(path)) as driver:
        assert driver.execute("SELECT * FROM signals").fetchall() == [(1, "paid", 2), (1, "paid", 4)]


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    upgrade(path, "0001")
    execute(path, "CREATE TABLE waits (mine TEXT)")  # 0002 makes hooks first, then finds this in its way
    before = everything_in(path)

    with pytest.raises(StoreRefusedError, match=r"old\.db could not be migrated: .*waits.*; nothing was changed"):
        prepare(path)

    assert everything_in(path) == before
    assert version_of(path) == [("0001",)]


def test_a_database_with_the_present_schema_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    prepare(path)
    before = everything_in(path)
    texts: list[str] = []

    with closing(sqlite3.connect(path, isolation_level=None)) as driver:
        schema.prepare(Connection(driver, texts.append), path)

    assert everything_in(path) == before
    assert not [text for text in texts if text.startswith(("CREATE", "INSERT", "DROP", "ALTER"))]


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    prepare(path)
    execute(path, "UPDATE wrkflw_version SET version_num = '9999'")
    before = everything_in(path)

    with pytest.raises(StoreRefusedError) as refused:
        prepare(path)

    assert str(refused.value) == (
        f"{path} has schema '9999', which this version of wrkflw does not know; upgrade wrkflw"
    )
    assert everything_in(path) == before


@pytest.mark.parametrize("name", ["events", "schedules", "cursors", "missed_instants", "Scheduled_Runs"])
def test_a_file_with_a_foreign_table_of_the_same_name_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    execute(path, f"CREATE TABLE {name} (id INTEGER)", "CREATE TABLE customers (id INTEGER)")
    before = everything_in(path)

    with pytest.raises(StoreRefusedError) as refused:
        prepare(path)

    assert str(refused.value) == (
        f"{path} already has a table {name.lower()!r} that is not wrkflw's; give wrkflw a file of its own"
    )
    assert everything_in(path) == before


def test_other_tables_in_the_file_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    execute(path, "CREATE TABLE customers (id INTEGER)")

    prepare(path)

    assert {"customers", "runs"} <= everything_in(path).keys()


def test_the_newest_migration_is_the_present_schema() -> None:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(schema.__file__).with_name("migrations")))

    assert scripts.get_heads() == [schema.REVISIONS[-1]]
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == schema.REVISIONS


def test_the_values_that_belong_to_a_statement_stand_in_its_text() -> None:
    """Bound, they would have SQLite plan it anew each time: the list of the runs took a hundred times as long."""
    statements = [value for value in vars(compiled).values() if isinstance(value, Statement)]
    names = {name for statement in statements for name in statement.params}
    assert len(statements) > 100
    assert not [name for name in names if re.search(r"_\d+$", name)]  # as SQLAlchemy calls what nobody has named


def test_the_compiled_statements_are_up_to_date() -> None:
    assert compiled.__file__ is not None
    assert Path(compiled.__file__).read_text(encoding="utf-8") == compiling.compiled(STATEMENTS)


def test_neither_sqlalchemy_nor_alembic_is_loaded_unless_the_schema_is_behind() -> None:
    code = "import sys, wrkflw.worlds.sqlite; print(sorted({'alembic', 'sqlalchemy', 'sqlmodel'} & sys.modules.keys()))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"


async def test_the_database_itself_refuses_to_change_a_step_that_has_ended(tmp_path: Path) -> None:
    """The guards refuse first; this holds also for whoever opens the file without them."""
    database = tmp_path / "wrkflw.db"
    world = SqliteWorld(database)
    await world.start()
    await world.storage.events.create("r-1", RunCreated(workflow_name="w"))
    await world.storage.events.create("r-1", StepCreated(correlation_id="s", step_name="s", key="s"))
    await world.storage.events.create("r-1", StepCompleted(correlation_id="s", result=b"1"))
    await world.close()

    with (
        closing(sqlite3.connect(database)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="stays as it is"),
    ):
        connection.execute("UPDATE steps SET status = 'failed'")
