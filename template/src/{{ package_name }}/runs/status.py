"""What a thread is doing, read from its checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, PendingWrite
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Interrupt, StateSnapshot

from ..persistence import Question, Run
from .holder import is_dead
from .keeper import LEASE
from .threads import ThreadId

Condition = Literal["queued", "running", "unfinished", "waiting", "done", "failed", "cancelled"]

UNDONE = frozenset({"__interrupt__", "__resume__", "__error__", "__error_source_node__", "__scheduled__"})
"""Channels that a task writes before it is done; a write to any other means that the task has finished."""

EXPIRED = "expired"
"""The key in the metadata of the checkpoint that ends a thread which waited for too long; its value says why."""


@dataclass(frozen=True)
class ThreadStatus:
    """A thread's condition, which is that of its run: of the first that is not over, or else of the last.

    queued: accepted, and nobody has begun. running: a process is at work on it. unfinished: no process is, and `resume`
    goes on. waiting: for an answer to `questions`. done, failed, cancelled: it is over; `error` says why.
    """

    thread_id: ThreadId
    run_id: str  # of the call that wrote the newest checkpoint, as its log lines have it
    condition: Condition
    step: int  # the superstep of the newest checkpoint, from -1
    updated: str  # ISO time of the newest checkpoint
    next: tuple[str, ...]  # the nodes that would work next
    interrupts: tuple[Interrupt, ...]
    values: Mapping[str, Any]  # Any: the state's values are the team's own
    error: str = ""
    expired: str = ""
    run: Run | None = None  # None for a thread whose runs are not in the ledger
    questions: tuple[Question, ...] = ()
    behind: int = 0  # runs that were accepted and go after this one


async def read_status(
    graph: CompiledStateGraph[Any, Any, Any, Any],  # Any: whatever state and context it has
    checkpointer: BaseCheckpointSaver[Any],  # Any: the type of its versions
    thread: ThreadId,
) -> ThreadStatus | None:
    """Return the thread's status; None when it has no checkpoint.

    An empty `next` does not mean finished: a process killed between storing the last task's writes and storing the next
    checkpoint leaves it empty too. What tells the two apart is that the newest checkpoint then has writes pending.
    """
    config: RunnableConfig = {"configurable": {"thread_id": thread}}
    head = await checkpointer.aget_tuple(config)
    if head is None:
        return None
    pending = head.pending_writes or []
    snapshot = await graph.aget_state(config)
    finished = _finished_tasks(pending)
    interrupts = tuple(i for task in snapshot.tasks if task.id not in finished for i in task.interrupts)
    condition: Condition
    expired = str(head.metadata.get(EXPIRED, ""))  # it ends the run whatever is next: the purge may have died half-way
    if expired:
        condition = "failed"
    elif interrupts:
        condition = "waiting"
    elif snapshot.next or pending:
        condition = "unfinished"
    else:
        condition = "failed" if snapshot.values.get("failure") else "done"
    return ThreadStatus(
        thread_id=thread,
        run_id=head.metadata.get("run_id", ""),
        condition=condition,
        step=head.metadata.get("step", -1),
        updated=head.checkpoint["ts"],
        next=snapshot.next,
        interrupts=interrupts,
        values=snapshot.values,
        error=expired or str(snapshot.values.get("failure") or ""),
        expired=expired,
    )


def status_of_run(run: Run, snapshot: StateSnapshot | None, **more: Any) -> ThreadStatus:  # Any: as in ThreadStatus
    """Return the status of a run's thread, whose state is `snapshot`; None before its first checkpoint."""
    found = snapshot if snapshot and snapshot.created_at else None
    expired = str((found.metadata or {}).get(EXPIRED, "")) if found else ""
    condition: Condition = run.status
    if run.status == "running" and is_abandoned(run):
        condition = "unfinished"
    return ThreadStatus(
        thread_id=ThreadId(run.thread_id),
        run_id=run.run_id,
        condition=condition,
        step=(found.metadata or {}).get("step", -1) if found else -1,
        updated=(found and found.created_at) or run.changed_at.isoformat(),
        next=found.next if found else (),
        interrupts=tuple(i for task in found.tasks if task.result is None for i in task.interrupts) if found else (),
        values=found.values if found else {},
        error=expired or run.error,
        expired=expired,
        run=run,
        **more,
    )


def is_abandoned(run: Run) -> bool:
    """Return whether nobody executes a running run any more: its process is dead, or silent for too long."""
    return run.silent > LEASE or is_dead(run.holder)


def _finished_tasks(pending: Sequence[PendingWrite]) -> set[str]:
    return {task_id for task_id, channel, _ in pending if channel not in UNDONE}
