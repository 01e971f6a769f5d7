"""A disk whose machine can lose its power: a file system in a file.

What a program has written and not flushed is in the kernel's memory and not in the file, so a copy of the file is what
the disk holds at that moment. Needs root and loop devices.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SIZE = 96  # MB


@contextmanager
def mounted(image: Path) -> Iterator[Path]:
    """Yield the folder in which the disk is seen; a file that is not there yet becomes an empty disk."""
    if not image.exists():
        with image.open("wb") as empty:
            empty.truncate(SIZE * 2**20)
        _call("mkfs.ext4", "-q", "-F", str(image))
    folder = image.with_suffix(".mounted")
    folder.mkdir()
    try:
        _call("mount", "-o", "loop", str(image), str(folder))
    except subprocess.CalledProcessError:
        folder.rmdir()
        raise
    try:
        yield folder
    finally:
        _call("umount", str(folder))
        folder.rmdir()


def after_a_power_failure(image: Path) -> Path:
    """Return a disk with what this one holds at this moment."""
    copy = image.with_suffix(".after")
    shutil.copyfile(image, copy)
    return copy


def why_not(folder: Path) -> str:
    """Return why there can be no such disk here; empty if there can."""
    try:
        with mounted(folder / "trial"):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return str(getattr(error, "stderr", None) or error).strip()


def _call(*command: str) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True)
