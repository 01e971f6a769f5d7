"""Threads and runs."""

from .errors import ThreadBusy, UnknownThread, WrongRequest
from .events import Event, Listener, Moved, NodeFinished, NodeStarted, Text
from .execution import DURABILITY
from .logs import configure_logging
from .opening import open_runs
from .registry import Incompatible
from .retention import Action, Looked, Policy, Purged
from .runs import Runs
from .status import ThreadStatus
from .threads import BadThreadId, ThreadId, job_of, new_thread_id, thread_id

__all__ = [
    "DURABILITY",
    "Action",
    "BadThreadId",
    "Event",
    "Incompatible",
    "Listener",
    "Looked",
    "Moved",
    "NodeFinished",
    "NodeStarted",
    "Policy",
    "Purged",
    "Runs",
    "Text",
    "ThreadBusy",
    "ThreadId",
    "ThreadStatus",
    "UnknownThread",
    "WrongRequest",
    "configure_logging",
    "job_of",
    "new_thread_id",
    "open_runs",
    "thread_id",
]
