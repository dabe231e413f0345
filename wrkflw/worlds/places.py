"""Where a database may lie: on a disk of this machine, in files of this user.

Over a network, locks and fsync do not mean what durability and fencing rest on.
"""

from __future__ import annotations

import os
from pathlib import Path

from wrkflw.world.errors import StoreRefusedError

_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset({
    "nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "afpfs", "ncpfs", "coda", "ceph", "lustre",
    "gfs", "gfs2", "ocfs2", "orangefs", "pvfs2", "beegfs", "davfs", "fuse.ceph", "fuse.davfs2", "fuse.glusterfs",
    "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.sshfs", "fuse.juicefs", "fuse.mount-s3", "fuse.smbnetfs",
})  # fmt: skip


def check(path: Path, mounts: Path = _MOUNTS) -> None:
    """Raises StoreRefusedError when the database at ``path``, in an existing folder, cannot be kept there."""
    kind = file_system_of(path.parent, mounts)
    if kind in _NETWORK:
        raise StoreRefusedError(f"{path} lies on {kind}, where locks and fsync do not hold; use a local disk")
    owner, user = _owner_of(path), os.geteuid() if hasattr(os, "geteuid") else None
    if owner is not None and user is not None and owner != user:
        raise StoreRefusedError(
            f"{path} belongs to user {owner}, and this process runs as {user}; "
            f"give the file to this user, or run as user {owner}"
        )


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
