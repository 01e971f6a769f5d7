"""Thread ids: traceable to the job that they serve, and safe to print, log and put in a URL."""

import re
from typing import NewType
from uuid import uuid4

from ..errors import ProjectError

ThreadId = NewType("ThreadId", str)

_ALLOWED = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_OURS = re.compile(r"[^-]+-(.+)-[0-9a-f]{8}")


class BadThreadId(ProjectError):
    """An id from outside that is not a thread id."""


def new_thread_id(kind: str, job_id: str) -> ThreadId:
    """Return `<kind>-<job id>-<8 hex>`: a new thread for a job. Raises BadThreadId."""
    if not kind or "-" in kind:
        raise BadThreadId(f"{kind!r} is not a kind of thread: use one word without a dash, such as ask")
    return thread_id(f"{kind}-{job_id}-{uuid4().hex[:8]}")


def thread_id(text: str) -> ThreadId:
    """Return an id from outside, checked. Raises BadThreadId."""
    if not _ALLOWED.fullmatch(text):
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        raise BadThreadId(f"{shown!r} is not a thread id: use 1 to 200 letters, digits and . _ : -")
    return ThreadId(text)


def job_of(thread: ThreadId) -> str:
    """Return the job id inside a thread id that `new_thread_id` made, else the whole id."""
    ours = _OURS.fullmatch(thread)
    return ours.group(1) if ours else thread
