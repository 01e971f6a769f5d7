"""Who executes a run: a process, and whether it is known to be dead."""

import os
import socket
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from uuid import uuid4

from ..persistence import DatabaseUnreachable

_let_go: set[str] = set()  # claims of this process that could not be settled, because the database was away


@cache
def machine() -> str:
    """Return this machine's name; on Linux with the namespace of its process ids, which a container has for itself."""
    try:
        return f"{socket.gethostname()}:{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - os, as it is no real path
    except OSError:
        return socket.gethostname()


def new_holder() -> str:
    """Return a name for one claim: this machine, this process, and what tells it from this process's other claims."""
    return f"{machine()}/{os.getpid()}/{uuid4().hex[:8]}"


def is_dead(holder: str) -> bool:
    """Return whether nobody is behind the claim: its process was on this machine, and is not there any more.

    A new process that has got the number of the dead one makes this False: then its silence will tell.
    """
    if holder in _let_go:
        return True
    where, _, rest = holder.partition("/")
    number = rest.partition("/")[0]
    if where != machine() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it lives, under another user
    return False


@contextmanager
def claiming() -> Iterator[str]:
    """Yield a name for a claim that the block makes. Whoever made it does not hear of it if he is cancelled, or loses
    the database; then the claim, should it be in the ledger, is let go."""
    holder = new_holder()
    try:
        yield holder
    except (CancelledError, DatabaseUnreachable):
        let_go(holder)
        raise


def let_go(holder: str) -> None:
    """Note that this process executes the run no more, though the ledger says so."""
    _let_go.add(holder)


def describe(holder: str) -> str:
    """Return the holder in words."""
    where, _, rest = holder.partition("/")
    return f"process {rest.partition('/')[0]} on {where.partition(':')[0]}"
