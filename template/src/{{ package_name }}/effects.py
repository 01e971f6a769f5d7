"""Idempotency keys, for nodes that touch the world.

A node is executed at least once: a process that dies after the node's effect and before its checkpoint leaves no trace
that the effect happened, so the resumed run executes the node again. An effect stored under `idempotency_key(...)`
happens once all the same, because the second execution computes the same key.
"""

from uuid import UUID, uuid5

from langgraph.runtime import ExecutionInfo

_NAMESPACE = UUID("6e8bc430-9c3a-11d9-9669-0800200c9a66")  # any fixed UUID: it only has to stay the same


def idempotency_key(execution: ExecutionInfo | None, label: str) -> str:
    """Return a UUID that every execution of this step shares and no other step, loop turn, branch or thread has.

    `execution` is `runtime.execution_info` of the node; `label` names the effect, so that one node can have several.
    The key survives a crash, a retry, an answer, and another process taking over: LangGraph derives a task's id from
    the checkpoint that the step started from. A replay starts from a checkpoint of its own, and a fork is another
    thread: there the effect is meant to happen again.

    Take the key in a node, and hand it to a `@task`: a task called again by a node that is tried again has another id.
    A sub-graph compiled with `checkpointer=False` has no checkpoints to derive ids from: hand it the key of the node
    that calls it. Raises ValueError outside a graph run.
    """
    if execution is None or not execution.thread_id:
        raise ValueError("idempotency_key needs the execution_info of a run on a thread: pass runtime.execution_info")
    return str(uuid5(_NAMESPACE, f"{execution.thread_id}/{execution.task_id}/{label}"))
