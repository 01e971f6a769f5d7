"""Where everything is: partitions, and the keys in them.

A thread has three partitions: its state, its runs with their questions, and its audit. One partition is an index.
"""

import re
from zlib import crc32

from ..errors import BadName
from .items import END, Key, Span

SEPARATOR = "\x1f"  # no name may hold it
AFTER = "\x20"  # what follows it
INDEX = "index"

_NAME = re.compile("[^\\0\x1f\ud800-\udfff]*")  # halves of characters have no UTF-8


def state(thread: str) -> str:
    """Return the partition of a thread's checkpoints, writes and values."""
    return f"state:{thread}"


def ledger(thread: str) -> str:
    """Return the partition of a thread's runs."""
    return f"runs:{thread}"


def audit(thread: str) -> str:
    """Return the partition of a thread's audit."""
    return f"audit:{thread}"


def key(*parts: str) -> str:
    """Return a key of several parts. Raises BadName."""
    for part in parts:
        if not _NAME.fullmatch(part):
            raise BadName("name", part)
    return SEPARATOR.join(parts)


def below(partition: str, *parts: str, **more: bool | int | None) -> Span:
    """Return the span of the keys that begin with these parts."""
    first = key(*parts)
    return Span(partition, first + SEPARATOR, first + AFTER, **more)  # type: ignore[arg-type] # as Span has them


def parts(text: str) -> list[str]:
    """Return the parts of a key."""
    return text.split(SEPARATOR)


# In the state.


def checkpoint(namespace: str, checkpoint_id: str) -> str:
    """Return the key of a checkpoint: those of a namespace stand in the order of their ids, the root's first."""
    return key("checkpoint", namespace, checkpoint_id)


def writes(namespace: str, checkpoint_id: str, task: str, number: str) -> str:
    """Return the key of a task's writes."""
    return key("writes", namespace, checkpoint_id, task, number)


def value(namespace: str, channel: str, version: str) -> str:
    """Return the key of a channel's value."""
    return key("value", namespace, channel, version)


# In the ledger.

STAMP = "!"  # another one with each change; it sorts before all else


def living(thread: str) -> Span:
    """Return the span of a thread's runs that are not over, and of all that belongs to them; the stamp comes first."""
    return Span(ledger(thread), "", "over")


def over(thread: str, limit: int | None) -> Span:
    """Return the span of a thread's runs that are over, the last one first."""
    return below(ledger(thread), "over", limit=limit, backwards=True)


def run(position: int, run_id: str, *, active: bool) -> str:
    """Return the key of a run with its questions; runs that are over stand apart, in the order of acceptance."""
    return key("active" if active else "over", f"{position:012d}", run_id)


def given(run_id: str) -> str:
    """Return the key of a run's input, as long as that is to be handed to the graph."""
    return key("input", run_id)


def lease(run_id: str) -> str:
    """Return the key of the attempt that may write, which is there while the run is running."""
    return key("lease", run_id)


def delivered(run_id: str, question: str) -> str:
    """Return the key that marks an answer as handed to the graph."""
    return key("delivered", run_id, question)


# Elsewhere.


def place(run_id: str) -> Key:
    """Return where a run's thread and position are."""
    return f"place:{crc32(run_id.encode()) % 256:02x}", run_id


def busy(thread: str) -> Key:
    """Return the entry of a thread with a run that is queued or running."""
    return INDEX, key("busy", thread)


def asking(thread: str) -> Key:
    """Return the entry of a thread with an open question."""
    return INDEX, key("asking", thread)


def known(thread: str) -> Key:
    """Return the entry of a thread with runs."""
    return INDEX, key("known", thread)


def audited(thread: str) -> Key:
    """Return the entry of a thread with an audit."""
    return INDEX, key("audited", thread)


def stored(thread: str) -> Key:
    """Return the entry of a thread with checkpoints."""
    return INDEX, key("stored", thread)


def entries(kind: str, after: str = "", limit: int | None = None) -> Span:
    """Return the span of the entries of a kind, from the thread that follows `after`."""
    first = key(kind, after) + ("\0" if after else "")
    return Span(INDEX, first, kind + AFTER, limit=limit, bare=True)


assert AFTER > SEPARATOR and END > AFTER  # noqa: S101, PT018 - what the spans rest on
