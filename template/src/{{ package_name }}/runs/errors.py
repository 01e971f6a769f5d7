"""Requests that a thread's condition does not allow; each text says which one is right."""

from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.graph.state import CompiledStateGraph

from ..errors import PROGRAM, ProjectError
from ..persistence import Question, QuestionState, Run
from .holder import describe
from .keeper import LEASE
from .reservation import COPY
from .status import is_abandoned
from .threads import ThreadId

_INTERNAL = ("__", "branch:", "join:")  # channels by which LangGraph itself finds out what comes next


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
    """Return the error for an answer to a thread whose run has not come to its question."""
    return WrongRequest(f"thread {thread} has an unfinished run: `{PROGRAM} resume {thread}` goes on")


class ThreadBusy(WrongRequest):
    """Another run of the thread is not over."""

    def __init__(self, run: Run) -> None:
        thread = run.thread_id
        remedy = f"wait for it, or end it with `{PROGRAM} cancel {thread}`"
        if run.status == "running" and is_abandoned(run):
            remedy = f"its process is gone, and `{PROGRAM} resume {thread}` goes on with it"
        super().__init__(f"thread {thread} has run {run.run_id}, which is {run.status}: {remedy}")
        self.run = run


def at_work(run: Run) -> WrongRequest:
    """Return the error for going on with a run that somebody executes."""
    heard = f"gave its last sign of life {run.silent:.0f} s ago"
    return WrongRequest(
        f"thread {run.thread_id} is at work: {describe(run.holder)} has its run {run.run_id} and {heard}. If it has "
        f"died, `{PROGRAM} resume {run.thread_id}` goes on once it has been silent for {LEASE:.0f} s"
    )


def cancelled(thread: ThreadId, why: str) -> WrongRequest:
    """Return the error for going on with a run that was cancelled."""
    return WrongRequest(
        f'the run of thread {thread} is cancelled ({why}): ask anew with `{PROGRAM} run "..." --thread-id {thread}`'
    )


def moved(thread: ThreadId) -> WrongRequest:
    """Return the error for a run that somebody else has moved in this very moment."""
    return WrongRequest(f"thread {thread} changes just now: look with `{PROGRAM} show {thread}`")


def exists(thread: ThreadId) -> WrongRequest:
    """Return the error for copying to a thread that is there."""
    return WrongRequest(f"there is a thread {thread} already: name another one")


def cut_off(thread: ThreadId, purpose: str) -> WrongRequest:
    """Return the error for a deletion, a copy or a purge whose process died."""
    if purpose == COPY:
        return WrongRequest(f"a copy of thread {thread} was cut off, and is deleted: type copy-threads again")
    return WrongRequest(f"a {purpose} of thread {thread} was cut off: do it again, or `{PROGRAM} delete {thread}`")


def nothing_asked(thread: ThreadId) -> WrongRequest:
    """Return the error for an answer that no question waits for."""
    return WrongRequest(f"thread {thread} asks nothing: see `{PROGRAM} show {thread}`")


def not_asked(thread: ThreadId, question: str, open_: Sequence[Question]) -> WrongRequest:
    """Return the error for an answer to something that is not asked."""
    ids = ", ".join(asked.question_id for asked in open_) or "nothing"
    return WrongRequest(f"thread {thread} does not ask {question!r}; it asks {ids}")


def answered(question: Question, state: QuestionState) -> WrongRequest:
    """Return the error for an answer that comes too late. It has changed nothing."""
    words = {"answered": "answered already", "delivered": "answered already", "expired": "expired"}
    return WrongRequest(
        f"question {question.question_id} of thread {question.thread_id} is {words.get(state, 'not asked any more')}; "
        f"nothing was changed. See `{PROGRAM} show {question.thread_id}`"
    )


def unfit(question: Question, why: str) -> WrongRequest:
    """Return the error for an answer that does not fit the question's schema."""
    return WrongRequest(f"this is no answer to question {question.question_id} of thread {question.thread_id}: {why}")


def check_patch(
    graph: CompiledStateGraph[Any, Any, Any, Any],  # Any: whatever state and context it has
    patch: Mapping[str, Any] | None,  # Any: values of the state
    as_node: str | None,
) -> None:
    """Raise WrongRequest for a patch with a key, or by a node, that the graph does not have."""
    unknown = sorted(key for key in patch or () if key not in graph.channels or key.startswith(_INTERNAL))
    if unknown:
        raise WrongRequest(f"the state has no key {', '.join(unknown)}: see State in agent/state.py")
    if as_node is not None and as_node not in graph.nodes:
        raise WrongRequest(f"the graph has no node {as_node!r}: it has {', '.join(sorted(graph.nodes))}")


def expired(thread: ThreadId, why: str) -> WrongRequest:
    """Return the error for an answer that comes too late."""
    return WrongRequest(
        f'thread {thread} takes no answer any more: {why}. Ask again with `{PROGRAM} run "..." --thread-id {thread}`'
    )
