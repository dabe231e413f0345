"""Processes to be killed: ``python -m tests.crash.worker DATABASE WITNESS MISTAKE``.

It reads one command a line and forks a child for each, because a fork starts in a hundredth of the time of a process.
It tells ``pid N`` of each and, when it stops or is gone, ``stopped N`` and ``dead N STATUS``; the child tells
``ready N`` once its Runtime is open.
"""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import sys
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from wrkflw import Runtime

from .errands import expected, journey
from .roles import ROLES
from .witness import tell, witness


def fork(database: str, role: str, *words: str) -> int:
    pid = os.fork()
    if pid:
        os.write(1, f"pid {pid}\n".encode())
        return pid
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        part: Coroutine[Any, Any, None] = ROLES[role](database, *words)
        asyncio.run(part)
        status = 0
    except BaseException as error:
        tell("DIED", error=repr(error))
        raise
    finally:
        sys.stderr.flush()
        os._exit(status)


def reap(children: set[int]) -> None:
    """Tell of all whose fate has changed."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        if not pid:
            return
        if os.WIFSTOPPED(status):
            os.write(1, f"stopped {pid}\n".encode())
        else:
            children.discard(pid)
            os.write(1, f"dead {pid} {os.waitstatus_to_exitcode(status)}\n".encode())


def serve(database: str) -> None:
    """Until nobody commands any more; who is left then is killed."""
    stirred, stirs = os.pipe()
    os.set_blocking(stirs, False)
    signal.set_wakeup_fd(stirs)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    children, heard = set[int](), b""
    while True:
        waiting, _, _ = select.select([0, stirred], [], [])
        if stirred in waiting:
            os.read(stirred, 4096)
            reap(children)
        if 0 in waiting:
            said = os.read(0, 65536)
            if not said:
                break
            *commands, heard = (heard + said).split(b"\n")
            for command in commands:
                children.add(fork(database, *command.decode().split()))
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


async def warm_up() -> None:
    """What is made when first used is made before the forks, so that the kills meet the work and not the making."""
    async with Runtime(":memory:", workflows=[journey]):
        assert ("completed", await journey.run(0)) == expected(0)


def main() -> None:
    database, path, mistake = sys.argv[1:]
    if mistake:
        from tests.mutants.processes import make  # it brings pytest along

        make(mistake)
    asyncio.run(warm_up())
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join()  # none may be lost in a fork
    gc.freeze()  # so that the children need no copy of what they never change
    os.chdir(Path(path).parent)
    witness.open(Path(path))
    serve(database)


if __name__ == "__main__":
    main()
