"""The lock that every write is made under, as two processes hold it: two openings of one file exclude each other."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wrkflw.world.errors import StoreRefusedError
from wrkflw.worlds.locks import HAS_FLOCK, WriteLock

pytestmark = pytest.mark.skipif(not HAS_FLOCK, reason="this system has no such locks")


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[tuple[WriteLock, WriteLock]]:
    here, there = WriteLock(tmp_path / "a.lock"), WriteLock(tmp_path / "a.lock")
    here.open()
    there.open()
    yield here, there
    here.close()
    there.close()


def test_one_at_a_time_has_it(locks: tuple[WriteLock, WriteLock]) -> None:
    here, there = locks

    with here:
        assert not there.acquire(wait=False)
        assert not there.acquire_within(0.01)
        assert not here.acquire(wait=False), "nor another thread of the process that has it"
    assert there.acquire(wait=False)
    there.release()


def test_who_waits_gets_it_in_turn(locks: tuple[WriteLock, WriteLock]) -> None:
    here, there = locks
    had = threading.Event()

    def wait() -> None:
        with there:
            had.set()

    with here:
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not had.is_set()
    waiting.join()

    assert had.is_set()


def test_who_dies_has_it_no_more(locks: tuple[WriteLock, WriteLock]) -> None:
    here, there = locks
    there.acquire()

    there.close()

    assert here.acquire(wait=False)
    here.release()


def test_who_cannot_let_go_has_written_all_the_same_and_lets_go_next_time(
    locks: tuple[WriteLock, WriteLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    here, there = locks
    with monkeypatch.context() as system:
        here.acquire()
        system.setattr("fcntl.flock", refuse)
        here.release()
    assert not there.acquire(wait=False)

    with here:
        pass

    assert there.acquire(wait=False)
    there.release()


def test_the_file_is_its_owners_alone_and_stays(tmp_path: Path, locks: tuple[WriteLock, WriteLock]) -> None:
    for lock in locks:
        lock.close()

    assert stat.S_IMODE(os.stat(tmp_path / "a.lock").st_mode) == 0o600


def test_a_lock_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.lock").mkdir()

    with pytest.raises(StoreRefusedError, match=r"a\.lock cannot be opened: Is a directory; move it away$"):
        WriteLock(tmp_path / "a.lock").open()


def test_without_a_file_only_threads_are_kept_apart() -> None:
    lock = WriteLock()

    with lock:
        assert not lock.acquire(wait=False)
    assert lock.acquire(wait=False)
