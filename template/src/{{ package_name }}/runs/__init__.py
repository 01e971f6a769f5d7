"""Threads and runs."""

from .errors import UnknownThread, WrongRequest
from .events import Event, Listener, NodeFinished, NodeStarted, Text
from .logs import configure_logging
from .opening import open_runs
from .retention import Action, Looked, Policy, Purged
from .runs import DURABILITY, Runs
from .status import ThreadStatus
from .threads import BadThreadId, ThreadId, new_thread_id, thread_id

__all__ = [
    "DURABILITY",
    "Action",
    "BadThreadId",
    "Event",
    "Listener",
    "Looked",
    "NodeFinished",
    "NodeStarted",
    "Policy",
    "Purged",
    "Runs",
    "Text",
    "ThreadId",
    "ThreadStatus",
    "UnknownThread",
    "WrongRequest",
    "configure_logging",
    "new_thread_id",
    "open_runs",
    "thread_id",
]
