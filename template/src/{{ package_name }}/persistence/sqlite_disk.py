"""Whether a file of SQLite lies on a disk that several machines may share.

Its locks and the memory that its processes share are of one machine: on such a disk two would overwrite each other's
threads, or damage the file. Only Linux tells which disk is of that kind.
"""

import os
from pathlib import Path

from ..errors import ProjectError

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre", "gpfs", "afs", "beegfs", "gfs2", "ocfs2"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.juicefs", "fuse.s3fs", "fuse.rclone"),
        *("fuse.gcsfuse", "fuse.mountpoint-s3", "fuse.goofys", "fuse.blobfuse", "fuse.blobfuse2"),
    }
)


class OnNetworkDisk(ProjectError):
    """The file lies where another machine may open it, too."""

    def __init__(self, file: Path, kind: str) -> None:
        super().__init__(
            f"{file} is on a network disk ({kind}), where SQLite's locks do not hold: another machine would damage the"
            " threads. Let DATABASE_URL, or DATA_DIR, name a place on a disk of this machine"
        )


def check_disk(file: Path) -> None:
    """Look at the disk of a file whose folder exists. Raises OnNetworkDisk."""
    place = file.resolve()  # SQLite follows links, too
    device = (place if place.exists() else place.parent).stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}".encode()
    try:
        mounts = MOUNTS.read_bytes().split(b"\n")  # names of places need not be UTF-8
    except OSError:  # not Linux
        return
    for mount in filter(None, mounts):
        fields, _, rest = mount.partition(b" - ")
        kind = rest.split()[0].decode()
        if fields.split()[2] == number and kind in NETWORK:
            raise OnNetworkDisk(file, kind)
