from __future__ import annotations

import os
from pathlib import Path

import pytest

from wrkflw.world.errors import StoreRefusedError
from wrkflw.worlds import places

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:30 / /mnt/share rw - nfs4 server:/export rw
31 30 0:31 / /mnt/share/local rw - ext4 /dev/vdb rw
32 22 0:32 / /mnt/with\040space rw - cifs //server/share rw
33 22 0:33 / /over rw - ext4 /dev/vdc rw
34 33 0:34 / /over rw - fuse.sshfs host: rw
35 22 0:35 / /docker rw - overlay overlay rw
36 22 0:36 / /memory rw - tmpfs tmpfs rw
""".strip()


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    return path


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/ada", "ext4"),
        ("/mnt/share/data", "nfs4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/shared", "ext4"),
        ("/mnt/share/local/data", "ext4"),
        ("/mnt/with space", "cifs"),
        ("/over", "fuse.sshfs"),
    ],
)
def test_a_folder_lies_on_the_file_system_that_is_mounted_last_and_deepest(
    folder: str, kind: str, mounts: Path
) -> None:
    assert places.file_system_of(Path(folder), mounts) == kind


@pytest.mark.parametrize("folder", ["/mnt/share", "/mnt/with space", "/over"])
def test_a_database_on_a_network_is_refused(folder: str, mounts: Path) -> None:
    kind = places.file_system_of(Path(folder), mounts)

    with pytest.raises(StoreRefusedError) as refused:
        places.check(Path(folder, "a.db"), mounts)

    assert str(refused.value) == (f"{folder}/a.db lies on {kind}, where locks and fsync do not hold; use a local disk")


@pytest.mark.parametrize("folder", ["/home/ada", "/docker", "/memory"])
def test_any_local_file_system_will_do(folder: str, mounts: Path) -> None:
    places.check(Path(folder, "a.db"), mounts)


def test_a_system_that_does_not_say_is_trusted(tmp_path: Path) -> None:
    places.check(tmp_path / "a.db", tmp_path / "no-such-file")


def test_a_database_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    path.touch()
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)

    with pytest.raises(StoreRefusedError) as refused:
        places.check(path)

    assert str(refused.value) == (
        f"{path} belongs to user {user}, and this process runs as {user + 1}; "
        f"give the file to this user, or run as user {user}"
    )
