"""Where a run can die: when a node has done its work, and after each write to the database.

A run under watch passes these points one after the other. Each is a line in a journal file, which outlives the process,
and at the point whose number it was told the process sends itself SIGKILL: nothing is flushed, closed or caught. The
points cover each superstep: before it (the last checkpoint is stored, nothing else), inside (a node has done its work,
and no database knows: as far as the stored state goes, this is any instant since it began), and after it (the node's
writes are stored, the next checkpoint is not).
"""

import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

_UNDONE = frozenset({"__interrupt__", "__resume__", "__error__", "__error_source_node__"})


class Journal:
    """The points that a run has passed, in a file that several processes append to."""

    def __init__(self, path: Path, kill_at: int | None = None) -> None:
        """Append to `path`; die at the point number `kill_at`, counted from 1 in this process."""
        self.path = path
        self._kill_at = kill_at
        self._passed = 0

    def note(self, what: str, **facts: object) -> None:
        """Write down something that is not a point to die at."""
        line = json.dumps({"what": what, **facts}) + "\n"
        with self.path.open("a", encoding="utf-8") as file:  # one write, appended whole
            file.write(line)

    def reach(self, point: str, **facts: object) -> None:
        """Write the point down, and die there if it is the one."""
        self.note(point, number=self._passed + 1, **facts)
        self._passed += 1
        if self._passed == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def lines(self) -> list[dict[str, Any]]:
        """Return what was written down (Any: the facts of a line)."""
        text = self.path.read_text("utf-8") if self.path.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def points(self) -> list[dict[str, Any]]:
        """Return the points that were reached (Any: as above)."""
        return [line for line in self.lines() if "number" in line]


class NodePoints(AsyncCallbackHandler):
    """Notes when a node of the graph itself, not of a sub-graph, begins; reaches a point when its work is done."""

    run_inline = True

    def __init__(self, journal: Journal) -> None:
        """Write into this journal."""
        self._journal = journal
        self._running: dict[UUID, dict[str, Any]] = {}  # Any: the facts of a point

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
        at = metadata or {}
        namespace = str(at.get("langgraph_checkpoint_ns", ""))
        if kwargs.get("name") != at.get("langgraph_node") or not namespace or "|" in namespace:
            return
        task = {"step": at["langgraph_step"], "node": at["langgraph_node"], "path": str(at["langgraph_path"])}
        self._running[run_id] = task | {"task": namespace.rpartition(":")[2]}
        self._journal.note("node started", **self._running[run_id])

    async def on_chain_end(self, outputs: dict[str, Any], *, run_id: UUID, **kwargs: Any) -> None:
        """See AsyncCallbackHandler (Any: its signature)."""
        if run_id in self._running:
            self._journal.reach("node finished", **self._running.pop(run_id))


class SaverPoints(BaseCheckpointSaver[Any]):
    """Passes every call on to a checkpointer, and reaches a point after each write. Any: its versions are its own."""

    def __init__(self, inner: BaseCheckpointSaver[Any], journal: Journal) -> None:
        """Watch `inner`."""
        super().__init__(serde=inner.serde)
        self._inner = inner
        self._journal = journal

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Ask the checkpointer."""
        return self._inner.get_next_version(current, channel)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Ask the checkpointer."""
        return await self._inner.aget_tuple(config)

    async def alist(self, config: RunnableConfig | None, **kwargs: Any) -> AsyncIterator[CheckpointTuple]:
        """Ask the checkpointer."""
        async for found in self._inner.alist(config, **kwargs):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store the checkpoint; a point is reached when it is stored."""
        stored = await self._inner.aput(config, checkpoint, metadata, new_versions)
        self._journal.reach("checkpoint stored", step=metadata.get("step"))
        return stored

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store a task's writes; a point is reached when they are stored."""
        await self._inner.aput_writes(config, writes, task_id, task_path)
        over = any(channel not in _UNDONE for channel, _ in writes)
        self._journal.reach("writes stored", task=task_id, over=over)


def repeated(lines: list[dict[str, Any]]) -> list[str]:
    """Return the nodes that began again after they were over (Any: the facts of a point).

    A node is over when its writes are stored, or a node of a later superstep has begun. One that had done its work when
    the process died, but whose writes were not stored, may and must work again.
    """
    names: dict[str, tuple[str, int]] = {}  # task id -> identity that every execution of the task shares
    begun: set[tuple[str, int]] = set()
    over: set[tuple[str, int]] = set()
    again: list[str] = []
    for line in lines:
        if line["what"] == "node started":
            identity = (f"{line['node']} {line['path']}", line["step"])
            if identity in over:
                again.append(f"{line['node']} of superstep {line['step']}")
            names[line["task"]] = identity
            begun.add(identity)
            over |= {earlier for earlier in begun if earlier[1] < line["step"]}
        elif line["what"] == "writes stored" and line["over"] and line["task"] in names:
            over.add(names[line["task"]])
    return again
