"""Where a run can die: when a node has done its work, and after each write to the database.

A run under watch passes these points one after the other; each is a line in a journal file, which outlives the
process. A process that is to be killed sends itself SIGKILL at the first point where none before it has died: nothing
is flushed, closed or caught. So a thread that is gone on with again and again dies once at every point, and moves on
by one.

The points cover each superstep: before it (the last checkpoint is stored), inside (a node or a @task has done its work,
and no database knows), and after it (the node's writes are stored, the next checkpoint is not). That a node begins is
noted and is no point: what the database holds is what it held before.
"""

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
)

from ...runs.status import UNDONE
from .nodes_at_work import AtWork, NodesAtWork
from .wrapped import Wrapped

POINTS = frozenset({"node finished", "task finished", "writes stored", "checkpoint stored", "answer sent"})
RESULT = "__return__"  # where the result of a @task is written, which callbacks do not tell of


class Journal:
    """What the processes of a thread have done, in a file that they append to."""

    def __init__(self, path: Path, *, kill: bool = False) -> None:
        """Append to `path`; with `kill`, die at the first point where no process has died."""
        self._path = path
        self._kill = kill
        self._deaths = self.deaths()

    def note(self, what: str, **facts: object) -> None:
        """Write a line."""
        line = json.dumps({"what": what, **facts}) + "\n"
        with self._path.open("a", encoding="utf-8") as file:  # one write, appended whole
            file.write(line)

    def reach(self, what: str, at: str, **facts: object) -> None:
        """Write down that the point `what` is reached `at` a place that every execution of a superstep shares."""
        self.note(what, at=at, **facts)
        point = f"{what}: {at}"
        if self._kill and point not in self._deaths:
            self.note("killed", point=point)
            os.kill(os.getpid(), signal.SIGKILL)

    def lines(self) -> list[dict[str, Any]]:
        """Return what was written down (Any: the facts of a line)."""
        text = self._path.read_text("utf-8") if self._path.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def points(self) -> list[str]:
        """Return the points that were reached, each once, in order."""
        return list(dict.fromkeys(f"{line['what']}: {line['at']}" for line in self.lines() if line["what"] in POINTS))

    def deaths(self) -> list[str]:
        """Return the points where a process died, in order."""
        return [line["point"] for line in self.lines() if line["what"] == "killed"]


class NodePoints(NodesAtWork):
    """Reaches a point when a node of the graph itself, not of a sub-graph, begins, and when its work is done."""

    def __init__(self, journal: Journal, places: dict[str, str]) -> None:
        """Write into this journal; put into `places` where each task is at work, by its id."""
        super().__init__()
        self._journal = journal
        self._places = places

    def begins(self, at: AtWork) -> None:
        """Note it; it is no point."""
        if "|" not in at.namespace:
            self._places[at.task] = place = f"superstep {at.step}, {at.node} {at.path[1:]}"
            self._journal.note("node started", at=place, step=at.step)

    def is_done(self, at: AtWork) -> None:
        """Reach the point."""
        if at.task in self._places:
            self._journal.reach("node finished", self._places[at.task])


class SaverPoints(Wrapped):
    """Reaches a point after each write."""

    def __init__(self, inner: BaseCheckpointSaver[Any], journal: Journal, places: dict[str, str]) -> None:
        """Watch `inner`, whose versions are its own (Any); `places` tells where a task is at work."""
        super().__init__(inner)
        self._journal = journal
        self._places = places
        self._turn = asyncio.Lock()  # writes and their checkpoint go side by side; here in order, to die between them

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store the checkpoint; a point is reached when it is stored."""
        async with self._turn:
            stored = await super().aput(config, checkpoint, metadata, new_versions)
            namespace = config["configurable"].get("checkpoint_ns", "").partition(":")[0]
            self._journal.reach("checkpoint stored", f"superstep {metadata.get('step')} {namespace}".strip())
        return stored

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store a task's writes; a point is reached when they are stored, and before it, when a @task has ended."""
        async with self._turn:
            if any(channel == RESULT for channel, _ in writes):
                self._journal.reach("task finished", task_path)
            await super().aput_writes(config, writes, task_id, task_path)
            over = any(channel not in UNDONE for channel, _ in writes)
            kind = "" if over else f" {sorted({channel for channel, _ in writes})}"
            self._journal.reach("writes stored", self._places.get(task_id, "between supersteps") + kind, over=over)


def repeated(lines: list[dict[str, Any]]) -> list[str]:
    """Return the nodes that began again after they were over (Any: the facts of a line).

    A node is over when its writes are stored, or a node of a later superstep has begun. One that had done its work when
    the process died, but whose writes were not stored, may and must work again.
    """
    began: dict[str, int] = {}
    over: set[str] = set()
    again: list[str] = []
    for line in lines:
        if line["what"] == "node started":
            if line["at"] in over:
                again.append(line["at"])
            began[line["at"]] = line["step"]
            over |= {place for place, step in began.items() if step < line["step"]}
        elif line["what"] == "writes stored" and line["over"]:
            over.add(line["at"])
    return list(dict.fromkeys(again))
