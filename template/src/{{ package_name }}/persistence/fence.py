"""The fence: a run's right to write, checked by the database in the statement that writes.

Who executes a run holds a lease on it, which is a number: the run's `attempt`. Whoever takes the run over raises it. A
process that was frozen, and wakes up after another one has finished its run, still believes in its old number; so every
checkpoint and every write says with which number it is made, and the same statement that would store it looks whether
that is still the run's. The saver learns the lease from here, and not from the config: that is for the graph.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

INPUT = "input"
ENTRIES = frozenset({"input", "update", "fork"})  # sources of the checkpoint with which a run enters its thread
RESUME = "__resume__"  # LangGraph's channel for an answer that an interrupt() has taken


@dataclass(frozen=True, slots=True)
class Fence:
    """The lease under which a task of the event loop, and all that it starts, stores checkpoints.

    `gives` names what this attempt hands to the graph, which is handed over once: `input`, or the id of the question
    whose answer it is. The transaction that stores the input's checkpoint, or the answer's `__resume__`, notes that.
    `blank` holds the run's thread as long as that is known to have no checkpoint: then there is nothing to be read.
    With `continues` each checkpoint has its parent in the database, as a run's have, and a copy's not yet.
    """

    run_id: str
    attempt: int
    gives: str = ""
    blank: set[str] = field(default_factory=set)
    continues: bool = False


_current: ContextVar[Fence | None] = ContextVar("fence", default=None)


def fence_of_checkpoint(namespace: str, source: str | None) -> Fence | None:
    """Return the fence under which a checkpoint is stored; None outside a run, where nothing is checked."""
    if fence := _current.get():
        fence.blank.clear()
    return _giving(gives=namespace == "" and source in ENTRIES)


def fence_of_writes(channels: Iterable[str]) -> Fence | None:
    """Return the fence under which a task's writes are stored; None as above."""
    return _giving(gives=RESUME in channels)


def fence_of_deletion() -> Fence | None:
    """Return the fence under which a thread is deleted; None as above."""
    return _giving(gives=False)


def is_blank(ids: Mapping[str, str]) -> bool:
    """Return whether a read of these configurable ids would find nothing: who holds the lease has not stored yet."""
    fence = _current.get()
    asked = fence is not None and ids.get("thread_id") in fence.blank
    return asked and not ids.get("checkpoint_ns") and not ids.get("checkpoint_id")


def _giving(*, gives: bool) -> Fence | None:
    """Return the fence, without what it gives unless this is the call that stores it: an attempt gives one thing."""
    fence = _current.get()
    if fence is None or not fence.gives or gives:
        return fence
    return replace(fence, gives="")


@contextmanager
def fenced(fence: Fence) -> Iterator[None]:
    """Store what the block stores, and the tasks that it starts, under this lease."""
    token = _current.set(fence)
    try:
        yield
    finally:
        _current.reset(token)
