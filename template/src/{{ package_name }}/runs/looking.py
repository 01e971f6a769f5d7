"""What threads and runs look like now: everything that only reads."""

from contextlib import suppress
from dataclasses import replace

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.types import StateSnapshot

from ..persistence import Ledger, Question, Run, list_threads
from . import errors
from .compatibility import snapshot_of
from .execution import Graph
from .recovery import STRANDED
from .status import ThreadStatus, is_abandoned, read_status, status_of_run
from .threads import ThreadId, thread_id


class Looking:
    """The queries."""

    def __init__(self, graph: Graph, ledger: Ledger) -> None:
        if not graph.checkpointer or isinstance(graph.checkpointer, bool):
            raise ValueError("compile the graph with a checkpointer, or use open_runs(settings)")
        self.ledger = ledger
        self._graph = graph
        self._checkpointer = graph.checkpointer

    @property
    def checkpointer(self) -> BaseCheckpointSaver[str]:
        """Where the threads are kept; it knows the types of the graph's state."""
        return self._checkpointer

    async def status(self, thread: str) -> ThreadStatus:
        """Return the thread's status. Raises UnknownThread."""
        id_ = thread_id(thread)
        line = await self.ledger.line(id_)
        run = line[0] if line else next(iter(await self.ledger.newest(id_)), None)
        if run is None:
            status = await read_status(self._graph, self._checkpointer, id_)
            if status is None:
                raise errors.UnknownThread(id_)
            # A question that is not in the ledger cannot be answered: going on asks it again, and notes it.
            return replace(status, condition="unfinished") if status.condition == "waiting" else status
        snapshot = await snapshot_of(self._graph, id_)
        questions = await self.ledger.questions(run.run_id) if run.active else []
        open_ = tuple(question for question in questions if question.state == "open")
        return status_of_run(run, snapshot, questions=open_, behind=max(0, len(line) - 1))

    async def threads(self, limit: int = 20) -> list[ThreadStatus]:
        """Return the threads that changed last, newest first. One that is deleted meanwhile is left out."""
        found = []
        for id_ in await list_threads(self._checkpointer, limit):
            with suppress(errors.UnknownThread):
                found.append(await self.status(id_))
        return found

    async def waiting(self, limit: int = 20) -> list[Question]:
        """Return the questions that wait for an answer, the oldest first."""
        return await self.ledger.open_questions(limit)

    async def abandoned(self, limit: int = 1000) -> list[Run]:
        """Return the runs that nobody executes any more: their processes have died, or did before they began.

        On another machine than the process was, that is known after 20 seconds (LEASE).
        """
        dead = [run for run in await self.ledger.lost(0.0, limit) if is_abandoned(run)]
        return dead + await self.ledger.stranded(STRANDED, limit)

    async def history(self, thread: str, *, before: str | None = None, limit: int = 20) -> list[StateSnapshot]:
        """Return the thread's checkpoints, newest first, older than the checkpoint `before`.

        Raises UnknownThread, or WrongRequest for a checkpoint that the thread does not have.
        """
        id_ = thread_id(thread)
        await self.status(id_)
        config: RunnableConfig = {"configurable": {"thread_id": id_}}
        older: RunnableConfig | None = None
        if before is not None:
            await self._check_checkpoint(id_, before)
            older = {"configurable": {"thread_id": id_, "checkpoint_ns": "", "checkpoint_id": before}}
        return [snapshot async for snapshot in self._graph.aget_state_history(config, before=older, limit=limit)]

    async def _check_checkpoint(self, thread: ThreadId, checkpoint: str) -> None:
        place: RunnableConfig = {
            "configurable": {"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": checkpoint}
        }
        if await self._checkpointer.aget_tuple(place) is None:
            raise errors.unknown_checkpoint(thread, checkpoint)
