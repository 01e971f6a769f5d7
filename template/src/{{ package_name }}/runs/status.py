"""What a thread is doing, read from its checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, PendingWrite
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Interrupt

from .threads import ThreadId

Condition = Literal["unfinished", "waiting", "done", "failed"]

# Writes that a task stores before it is done; any other write means that the task has finished.
_UNDONE = frozenset({"__interrupt__", "__resume__", "__error__", "__error_source_node__", "__scheduled__"})


@dataclass(frozen=True)
class ThreadStatus:
    """A thread's condition.

    unfinished: a run stopped in the middle, `resume` goes on. waiting: for an answer to `interrupts`. done, failed: the
    last run has ended, failed with the text in the state's `failure`.
    """

    thread_id: ThreadId
    condition: Condition
    step: int  # the superstep of the newest checkpoint, from -1
    updated: str  # ISO time of the newest checkpoint
    next: tuple[str, ...]  # the nodes that would work next
    interrupts: tuple[Interrupt, ...]
    values: Mapping[str, Any]  # Any: the state's values are the team's own


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
    if interrupts:
        condition = "waiting"
    elif snapshot.next or pending:
        condition = "unfinished"
    else:
        condition = "failed" if snapshot.values.get("failure") else "done"
    step = head.metadata.get("step", -1)
    return ThreadStatus(thread, condition, step, head.checkpoint["ts"], snapshot.next, interrupts, snapshot.values)


def _finished_tasks(pending: Sequence[PendingWrite]) -> set[str]:
    return {task_id for task_id, channel, _ in pending if channel not in _UNDONE}
