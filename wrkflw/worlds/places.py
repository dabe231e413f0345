"""Where a database may lie: on a disk of this machine, in files of this user; and why a file there is refused.

Over a network, locks and fsync do not mean what durability and fencing rest on.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from wrkflw.world.errors import StoreRefusedError

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset({
    "nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "afpfs", "ncpfs", "coda", "ceph", "lustre",
    "gfs", "gfs2", "ocfs2", "orangefs", "pvfs2", "beegfs", "davfs", "fuse.ceph", "fuse.davfs2", "fuse.glusterfs",
    "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.sshfs", "fuse.juicefs", "fuse.mount-s3", "fuse.smbnetfs",
})  # fmt: skip
MEMORY = frozenset({"tmpfs", "ramfs"})
"""Kinds of file systems that nothing outlasts the machine on."""
_BESIDE = ("", "-journal", "-wal", "-shm")
"""What SQLite appends to the name of a database."""
_WRITABLE = "make it and its folder writable for this user"
_FILES = "close some, or let the process have more of them (ulimit -n)"
_ROOM = "make room on its disk"
_CURES = {
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENAMETOOLONG: "give the database a shorter name",
    errno.EISDIR: "move it away",
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
}


def check(path: Path, mounts: Path = _MOUNTS) -> None:
    """Raises StoreRefusedError when the database at ``path``, in an existing folder, cannot be kept there."""
    kind = file_system_of(path.parent, mounts)
    if kind in _NETWORK:
        raise StoreRefusedError(f"{path} lies on {kind}, where locks and fsync do not hold; use a local disk")
    for name in (f"{path}{beside}" for beside in _BESIDE):
        try:
            found = os.stat(name)
        except (FileNotFoundError, NotADirectoryError):  # it is to be made, or somebody will say that it cannot
            continue
        except OSError as error:
            raise StoreRefusedError(f"{name} cannot be used: {error.strerror}; {cure_of(error)}") from error
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise StoreRefusedError(f"{name} is {what}; give wrkflw a file of its own")
    owner, user = _owner_of(path), os.geteuid() if hasattr(os, "geteuid") else None
    if owner is not None and user is not None and owner != user:
        raise StoreRefusedError(
            f"{path} belongs to user {owner}, and this process runs as {user}; "
            f"give the file to this user, or run as user {owner}"
        )


def cure_of(error: OSError) -> str:
    """What is to be done where the system refuses a file of the database."""
    return _CURES.get(error.errno or 0, _WRITABLE)


def hindrance(path: Path) -> str:
    """Why SQLite cannot open what belongs to the database, and what is to be done; it says neither itself."""
    for beside in _BESIDE:
        if os.path.exists(name := f"{path}{beside}") and not os.access(name, os.R_OK | os.W_OK):
            return f"{name} cannot be read and written; {_WRITABLE}"
    descriptors: list[int] = []
    try:
        descriptors += (os.open(os.devnull, os.O_RDONLY) for _ in _BESIDE)
    except OSError as error:
        return f"{error.strerror}; {cure_of(error)}"
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return f"unable to open database file; {_WRITABLE}"


def file_system_of(folder: Path, mounts: Path = _MOUNTS) -> str:
    """The kind of file system that holds the folder, as Linux names it; empty where the system does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    holding, longest, place = "", -1, f"{folder}/"
    for line in lines:
        before, _, after = line.partition(" - ")
        point = _unescaped(before.split(" ")[4]).rstrip("/")
        if len(point) >= longest and place.startswith(f"{point}/"):  # the last of those at one point covers the others
            longest, holding = len(point), after.split(" ")[0]
    return holding


def _unescaped(point: str) -> str:
    if "\\" not in point:
        return point
    for escape, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        point = point.replace(escape, character)
    return point


def _owner_of(path: Path) -> int | None:
    try:
        return os.stat(path).st_uid
    except OSError:  # it is to be made, or somebody will say what is wrong with it
        return None
