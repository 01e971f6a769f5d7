"""A file of SQLite is not opened where another machine may open it, too."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from acme_agent.persistence import open_checkpointer, sqlite_disk
from acme_agent.persistence.sqlite_disk import OnNetworkDisk
from acme_agent.settings import Settings

MEMORY = "/dev/shm" if Path("/dev/shm").exists() else None  # another disk than a test's folder, where there is one


@pytest.mark.parametrize(("kind", "refused"), [("nfs4", True), ("cifs", True), ("ext4", False), ("overlay", False)])
async def test_disks_are_told_apart(
    kind: str, *, refused: bool, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_disk, "MOUNTS", _mounts(tmp_path, tmp_path, kind))
    opening = open_checkpointer(f"sqlite:///{tmp_path}/threads.db", settings=settings)
    if refused:
        with pytest.raises(OnNetworkDisk, match=kind):
            await opening.__aenter__()
    else:
        async with opening:
            pass


async def test_memory_is_on_no_disk(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_disk, "MOUNTS", _mounts(tmp_path, Path(), "nfs4"))
    testing = settings.model_copy(update={"environment": "test"})
    async with open_checkpointer("memory://", settings=testing):
        pass


async def test_a_link_is_followed(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryDirectory(dir=MEMORY) as far:
        (tmp_path / "threads.db").symlink_to(f"{far}/threads.db")
        monkeypatch.setattr(sqlite_disk, "MOUNTS", _mounts(tmp_path, Path(far), "nfs4"))
        with pytest.raises(OnNetworkDisk, match="nfs4"):
            await open_checkpointer(f"sqlite:///{tmp_path}/threads.db", settings=settings).__aenter__()


def _mounts(folder: Path, place: Path, kind: str) -> Path:
    """Write a table of mounts, in which the disk of a place is of this kind."""
    device = place.stat().st_dev
    table = folder / "mountinfo"
    number = f"{os.major(device)}:{os.minor(device)}"
    table.write_bytes(
        b"22 27 0:2147483647 / /other\xff\xe2\x80\xa8\x0c rw - nfs4 server:/export rw\n"
        + f"36 35 {number} / /place rw,noatime shared:1 - {kind} server:/share rw\n".encode()
    )
    return table
