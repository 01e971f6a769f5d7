"""What the ledger keeps: a run, and a question that a run waits with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Status = Literal["queued", "running", "waiting", "done", "failed", "cancelled"]

MOVES: Mapping[Status, frozenset[Status]] = {
    "queued": frozenset({"running", "failed", "cancelled"}),
    # To itself: another process takes it over. Back to queued: it was handed over, or is to be tried again.
    "running": frozenset({"running", "queued", "waiting", "done", "failed", "cancelled"}),
    "waiting": frozenset({"queued", "failed", "cancelled"}),  # it was answered, nobody answered, nobody wants it
    "failed": frozenset({"queued"}),  # somebody says: try again
    "done": frozenset(),
    "cancelled": frozenset(),
}
"""Where a run may go from each status. Every statement that moves one names the statuses that it moves from."""

ACTIVE: tuple[Status, ...] = ("queued", "running", "waiting")
"""A thread is done with one after the other, in the order in which they were accepted."""

Mode = Literal["reject", "enqueue", "interrupt"]
"""What becomes of a run when another one of its thread is not over: refused; next; next, and the other one stops."""

QuestionState = Literal["open", "answered", "delivered", "expired", "withdrawn"]


@dataclass(frozen=True)
class Run:
    """A run that was accepted."""

    run_id: str
    thread_id: str
    position: int  # runs of a thread go in this order
    status: Status
    attempt: int  # how often it was claimed; the fencing token of who claimed it last
    crashes: int  # times in a row that a process died with it and it had not got on
    retries: int  # times that it was put back after an error
    stalled_at: str  # the thread's newest checkpoint when its process died last
    has_input: bool  # its input is not in the thread yet
    holder: str  # who executes it, or did last; see runs.holder
    wish: str  # what its holder is asked to do: drain, or nothing
    error: str  # why it failed, or was cancelled, or put back
    graph_version: str
    release: str
    accepted_at: datetime
    changed_at: datetime  # since when it has its status
    packed: tuple[str, bytes] | None = field(compare=False, repr=False)  # its input, if that was read, too
    silent: float = field(compare=False)  # seconds since its holder's last sign of life; 0 when nobody holds it
    blank: bool = field(default=False, compare=False)  # its thread had no checkpoint when it was claimed

    @property
    def active(self) -> bool:
        """Whether it is not over."""
        return self.status in ACTIVE


@dataclass(frozen=True)
class Asked:
    """A question as a run asks it."""

    question_id: str  # LangGraph's interrupt id: another one each time that a node asks
    node: str
    payload: Any  # what the node gave to interrupt(); Any: the team's
    schema: Mapping[str, Any] | None = None  # JSON Schema of the answer; Any: what JSON can hold
    seconds: float | None = None  # that it stays open; None: for ever


@dataclass(frozen=True)
class Question:
    """What a run waits for: an interrupt, with all that a person needs in order to answer it."""

    question_id: str
    run_id: str
    thread_id: str
    node: str  # who asks
    payload: Any  # what is proposed; Any: the team's
    schema: Mapping[str, Any] | None  # as above
    asked_at: datetime
    until: datetime | None  # after that, the policy of the settings answers
    state: QuestionState
    answer: Any  # Any: what the person answered; None if nobody has
    actor: str  # who answered


@dataclass(frozen=True)
class Entry:
    """A line of the audit."""

    at: datetime
    kind: str
    thread_id: str
    run_id: str
    question_id: str
    actor: str
    detail: str
