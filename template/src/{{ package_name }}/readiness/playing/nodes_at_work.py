"""Watching the nodes of a run: when each begins, and when its work is done."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler


@dataclass(frozen=True)
class AtWork:
    """A node that has begun."""

    node: str
    step: int  # the superstep
    path: tuple[Any, ...]  # of the task, as LangGraph has it: Any
    namespace: str  # of the task: those of sub-graphs have a "|"

    @property
    def task(self) -> str:
        """The task's id."""
        return self.namespace.rpartition(":")[2]


class NodesAtWork(AsyncCallbackHandler):
    """A callback for a graph: what it does with a node is for its sub-classes to say."""

    run_inline = True

    def __init__(self) -> None:
        """Begin with no node at work."""
        self._running: dict[UUID, AtWork] = {}

    def begins(self, at: AtWork) -> None:
        """Be told that a node begins."""

    def is_done(self, at: AtWork) -> None:
        """Be told that a node's work is done. One that raises is not."""

    async def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """See AsyncCallbackHandler (Any: its signature)."""
        of = metadata or {}
        namespace, node = str(of.get("langgraph_checkpoint_ns", "")), of.get("langgraph_node")
        if namespace and kwargs.get("name") == node:
            at = AtWork(str(node), int(of["langgraph_step"]), tuple(of["langgraph_path"]), namespace)
            self._running[run_id] = at
            self.begins(at)

    async def on_chain_end(self, outputs: dict[str, Any], *, run_id: UUID, **kwargs: Any) -> None:
        """See AsyncCallbackHandler (Any: its signature)."""
        if at := self._running.pop(run_id, None):
            self.is_done(at)
