"""The one way in: start a run, go on with it, answer it, look at it."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Durability, StateSnapshot

from ..agent import AgentSettings, State
from ..persistence import list_threads, open_retention
from . import errors
from .config import graph_version, run_config
from .events import Clock, Listener
from .logs import run_logged
from .retention import Forgetting, Policy, Purged, PurgeListener
from .status import ThreadStatus, read_status
from .threads import ThreadId, thread_id

logger = logging.getLogger(__name__)

DURABILITY: Durability = "sync"
"""A superstep begins when the one before is stored. "async" runs finished work again after a crash and notices a failed
write at the end only; "exit" stores nothing until then."""

Graph = CompiledStateGraph[
    State, AgentSettings, Any, Any
]  # Any: input and output are the state, or what a team makes them


class Runs:
    """Runs on threads. A caller says what it wants; whether that means an input, None or a Command is decided here."""

    def __init__(self, graph: Graph, settings: AgentSettings) -> None:
        """Take a graph that was compiled with a checkpointer; use `open_runs` for the usual one."""
        if not graph.checkpointer or isinstance(graph.checkpointer, bool):
            raise ValueError("compile the graph with a checkpointer, or use open_runs(settings)")
        self._graph = graph
        self._checkpointer = graph.checkpointer
        self._settings = settings
        self._graph_version = graph_version(graph)

    async def start(self, payload: Mapping[str, Any], *, thread: str, listener: Listener | None = None) -> ThreadStatus:
        """Run the graph on a new input and return how it ended.

        `thread` is an id of `new_thread_id`, or a thread whose last run has ended; `payload` is the graph's input (Any:
        the team's state). Raises WrongRequest when the thread waits or is unfinished.
        """
        id_ = thread_id(thread)
        before = await read_status(self._graph, self._checkpointer, id_)
        if before and before.condition == "waiting":  # a new input would silently discard the question
            raise errors.waiting(id_)
        if before and before.condition == "unfinished":
            raise errors.unfinished(id_)
        return await self._run(dict(payload), id_, listener)

    async def resume(self, thread: str, *, listener: Listener | None = None) -> ThreadStatus:
        """Go on with a run that stopped in the middle. Raises UnknownThread, or WrongRequest for any other thread."""
        status = await self.status(thread)
        if status.condition == "waiting":
            raise errors.waiting(status.thread_id)
        if status.condition != "unfinished":
            raise errors.finished(status.thread_id)
        return await self._run(None, status.thread_id, listener)

    async def answer(self, thread: str, value: str, *, listener: Listener | None = None) -> ThreadStatus:
        """Answer the question that the thread has waited for longest. Raises UnknownThread or WrongRequest.

        The answer names its question: sent twice, it can never answer the next one.
        """
        status = await self.status(thread)
        if status.condition == "unfinished":
            raise errors.unfinished(status.thread_id)
        if status.expired:
            raise errors.expired(status.thread_id, status.expired)
        if not status.interrupts:
            raise errors.nothing_asked(status.thread_id)
        return await self._run(Command(resume={status.interrupts[0].id: value}), status.thread_id, listener)

    async def status(self, thread: str) -> ThreadStatus:
        """Return the thread's status. Raises UnknownThread."""
        id_ = thread_id(thread)
        status = await read_status(self._graph, self._checkpointer, id_)
        if status is None:
            raise errors.UnknownThread(id_)
        return status

    async def threads(self, limit: int = 20) -> list[ThreadStatus]:
        """Return the threads that changed last, newest first."""
        ids = await list_threads(self._checkpointer, limit)
        found = [await read_status(self._graph, self._checkpointer, ThreadId(id_)) for id_ in ids]
        return [status for status in found if status]

    async def history(self, thread: str, *, before: str | None = None, limit: int = 20) -> list[StateSnapshot]:
        """Return the thread's checkpoints, newest first, older than the checkpoint `before`.

        Raises UnknownThread, or WrongRequest for a checkpoint that the thread does not have.
        """
        id_ = thread_id(thread)
        await self.status(id_)
        config: RunnableConfig = {"configurable": {"thread_id": id_}}
        older: RunnableConfig | None = None
        if before is not None:
            older = {"configurable": {"thread_id": id_, "checkpoint_ns": "", "checkpoint_id": before}}
            if await self._checkpointer.aget_tuple(older) is None:
                raise errors.unknown_checkpoint(id_, before)
        return [snapshot async for snapshot in self._graph.aget_state_history(config, before=older, limit=limit)]

    async def purge(
        self,
        *,
        dry_run: bool = False,
        archive: Path | None = None,
        now: datetime | None = None,
        listener: PurgeListener | None = None,
    ) -> Purged:
        """Apply the policy of the settings to every thread and return what was done; see `retention`.

        `archive` is a folder that gets each thread as a file before it is deleted. `now` is another time to judge by.
        Raises RetentionMissing on SQLite.
        """
        retention = open_retention(self._settings.checkpoint_url, self._checkpointer)
        forgetting = Forgetting(
            self._graph, self._checkpointer, retention, Policy.of(self._settings), dry_run=dry_run, archive=archive
        )
        return await forgetting.purge(now or datetime.now(UTC), listener or (lambda _: None))

    async def restore(self, file: Path) -> ThreadId:
        """Bring an archived thread back. Raises ArchiveDamaged, ArchiveUnknown, ThreadExists or RetentionMissing."""
        thread, rows = await open_retention(self._settings.checkpoint_url, self._checkpointer).restore(file)
        logger.info("thread %s restored: %d rows", thread, rows.total)
        return ThreadId(thread)

    async def _run(self, payload: Any, id_: ThreadId, listener: Listener | None) -> ThreadStatus:
        """Drive the graph. Any: an input, a Command, or None to go on; None does nothing on a finished thread."""
        config = run_config(id_, recursion_limit=self._settings.recursion_limit, graph_version=self._graph_version)
        clock = Clock()
        with run_logged(config):
            logger.info("run begins")
            stream = self._graph.astream(
                payload, config, context=self._settings, durability=DURABILITY, stream_mode=["tasks", "custom"]
            )
            async for mode, item in stream:
                event = clock.event(mode, item)
                if event and listener:
                    listener(event)
            status = await self.status(id_)
            logger.info("run ends: %s", status.condition)
            return status
