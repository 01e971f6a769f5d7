"""Servers that end with the test process, of SIGKILL too.

A shell holds the server: it stops it and deletes its folder when its standard input ends, and the kernel ends that when
the test process dies. Not covered: SIGKILL to that shell; and a process forked from the test process holds the input as
well, and so keeps the server for as long as it lives.
"""

import os
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_ROOMS = "/tmp"  # mkdtemp makes it safe; a socket's path has at most 107 bytes, and any user may enter here
_STOP_TIMEOUT = 30.0  # seconds


class Account(NamedTuple):
    """The ids that a program gets; None means those of this process."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


def new_room(prefix: str) -> Path:
    """Make a folder for a server, which its shell deletes in the end."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=_ROOMS))


def free_port() -> int:
    """Return a port that is free at this moment: another process may take it before the server does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Server:
    """A server in a room, held by the shell that runs `script`.

    The script prints `ready` once the server takes connections and then reads its standard input to the end, or prints
    nothing and writes to its standard error why there is no server. In either case it stops the server and deletes its
    working directory, which is the room. It must ignore signals, so that nothing keeps it from that.
    """

    def __init__(self, script: str, arguments: list[str], room: Path, account: Account) -> None:
        """Start the shell as `account`, with `arguments` as $1, $2 and so on."""
        if account.user is not None and account.group is not None:
            for path in (room, *room.rglob("*")):  # the account has to delete it all in the end
                os.chown(path, account.user, account.group, follow_symlinks=False)
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", script, room.name, *arguments],
            cwd=room,
            env=_neutral(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the tests and not the server that they are about to use
            user=account.user,
            group=account.group,
            extra_groups=account.extra_groups,
        )

    def failure(self) -> str | None:
        """Wait for the server. Return None when it is ready, else the end of its log."""
        if self._shell.stdout and self._shell.stdout.readline():
            return None
        return " ".join(self._shell.communicate()[1].split())[-500:]

    def order(self, word: str) -> None:
        """Give the script a word, and return when it has answered."""
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(f"{word}\n")
        self._shell.stdin.flush()
        self._shell.stdout.readline()

    def stop(self) -> None:
        """Stop the server, and return when its folder is gone."""
        self._shell.communicate("stop\n", timeout=_STOP_TIMEOUT)


def _neutral(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
