"""Threads and runs."""

from .copying import Copied, Outcome, copy_threads, settings_at
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
    "Copied",
    "Event",
    "Incompatible",
    "Listener",
    "Looked",
    "Moved",
    "NodeFinished",
    "NodeStarted",
    "Outcome",
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
    "copy_threads",
    "job_of",
    "new_thread_id",
    "open_runs",
    "settings_at",
    "thread_id",
]
