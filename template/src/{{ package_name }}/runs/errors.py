"""Requests that a thread's condition does not allow; each text says which one is right."""

from ..errors import PROGRAM, ProjectError
from .threads import ThreadId


class UnknownThread(ProjectError):
    """No thread has this id."""

    def __init__(self, thread: ThreadId) -> None:
        """Name the thread and where to look."""
        super().__init__(f"no thread is called {thread}: see `{PROGRAM} threads`")


class WrongRequest(ProjectError):
    """The thread is in another condition than the request needs."""


def finished(thread: ThreadId) -> WrongRequest:
    """Return the error for going on with a thread whose run has ended."""
    return WrongRequest(f'thread {thread} has finished: ask it more with `{PROGRAM} run "..." --thread-id {thread}`')


def unknown_checkpoint(thread: ThreadId, checkpoint: str) -> WrongRequest:
    """Return the error for paging from a checkpoint that the thread does not have."""
    return WrongRequest(f"thread {thread} has no checkpoint {checkpoint!r}: see `{PROGRAM} history {thread}`")


def waiting(thread: ThreadId) -> WrongRequest:
    """Return the error for a thread that waits for an answer."""
    return WrongRequest(
        f"thread {thread} waits for an answer: `{PROGRAM} answer {thread} yes`, no, or a text in quotes"
    )


def unfinished(thread: ThreadId) -> WrongRequest:
    """Return the error for a thread whose last run has not ended."""
    goes_on = f"if no process is at work on it, `{PROGRAM} resume {thread}` goes on"
    return WrongRequest(f"thread {thread} has an unfinished run: {goes_on}")


def nothing_asked(thread: ThreadId) -> WrongRequest:
    """Return the error for an answer that no question waits for."""
    return WrongRequest(f"thread {thread} asks nothing: see `{PROGRAM} show {thread}`")


def expired(thread: ThreadId, why: str) -> WrongRequest:
    """Return the error for an answer that comes too late."""
    return WrongRequest(
        f'thread {thread} takes no answer any more: {why}. Ask again with `{PROGRAM} run "..." --thread-id {thread}`'
    )
