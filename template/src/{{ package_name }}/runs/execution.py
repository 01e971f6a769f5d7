"""Executing a run that was claimed: what the graph is given, and what the ledger is told in the end.

A caller never chooses between an input, None and a Command. The ledger knows whether the run's input is in the thread,
and whether an answer has come that is not; if neither is to be given, the graph goes on from where the thread stands.
`StateSnapshot.next == ()` does not mean that nothing is left: a process killed between storing the last task's writes
and the next checkpoint leaves it empty, too. So the graph is always called; on a finished thread it does nothing.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import GraphDrained
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Durability, StateSnapshot

from ..agent import AgentSettings, State
from ..errors import ProjectError
from ..persistence import INPUT, Asked, DatabaseUnreachable, Fence, LeaseLost, Ledger, Run, Status, fenced
from ..settings import redact
from . import errors
from .approvals import asked
from .compatibility import begin_with, go_on_from
from .config import graph_version, run_config
from .events import Clock, Listener, NodeFinished, NodeStarted
from .holder import let_go
from .keeper import SUPERSEDED, Held, Keeper
from .logs import run_logged
from .registry import NewerRelease
from .replay import Replay
from .reservation import COPY, purpose_of
from .threads import ThreadId

logger = logging.getLogger(__name__)

DURABILITY: Durability = "sync"
"""A superstep begins when the one before is stored. "async" runs finished work again after a crash and notices a failed
write at the end only; "exit" stores nothing until then."""

LONGEST_ERROR = 1000  # characters of an error's text that the ledger keeps

Graph = CompiledStateGraph[
    State, AgentSettings, Any, Any
]  # Any: input and output are the state, or what a team makes them


class Executor:
    """Drives the graph for one claimed run after the other, any number of them at once."""

    def __init__(self, graph: Graph, settings: AgentSettings, ledger: Ledger, keeper: Keeper) -> None:
        self._graph = graph
        self._checkpointer = cast("BaseCheckpointSaver[str]", graph.checkpointer)  # see `Looking`
        self._graph_version = graph_version(graph)  # of who executes it, not of who accepted it
        self._settings = settings
        self._ledger = ledger
        self._keeper = keeper

    async def execute(
        self, run: Run, listener: Listener, *, retry: bool = False, with_state: bool = True
    ) -> tuple[Run, StateSnapshot | None]:
        """Execute a run that this process has claimed, and return it as it was settled, with the thread's state.

        The state is None when the run was taken over, cancelled or handed over meanwhile, and without `with_state`
        unless it waits. An error is raised again once the run is settled: as failed, or with `retry` as queued,
        RUN_RETRIES times at most, but for a newer release's thread always. Raises DatabaseUnreachable when it could not
        be settled; then it is taken over later, by whomever.
        """
        config = run_config(
            ThreadId(run.thread_id),
            run.run_id,
            recursion_limit=self._settings.recursion_limit,
            graph_version=self._graph_version,
        )
        async with self._keeper.keeping(run) as held:
            with run_logged(config):
                logger.info("attempt %d of the run begins", run.attempt)
                try:
                    values, snapshot = await held.carry_out(self._drive(held, config, listener, with_state))
                except LeaseLost as error:
                    logger.warning("%s", error)
                    return (await self._ledger.find(run.run_id)) or run, None
                except GraphDrained:
                    return await self._drained(run, held.control.drain_reason), None
                except asyncio.CancelledError:
                    if held.control.drain_requested:  # it was to stop, and has not in time
                        await self._drained(run, held.control.drain_reason)
                    raise
                except DatabaseUnreachable:
                    let_go(run.holder)
                    raise
                except Exception as error:
                    text = redact(f"{type(error).__name__}: {error}")[:LONGEST_ERROR]
                    again = retry and self._may_be_tried_again(run, error)
                    await self._settle(run, "queued" if again else "failed", text, retry=again)
                    raise
                settled = await self._settle_as(run, snapshot, values)
                logger.info("the run is %s", settled.status)
                return settled, snapshot

    def _may_be_tried_again(self, run: Run, error: Exception) -> bool:
        if isinstance(error, NewerRelease):  # a worker of that release will come by: this one is being replaced
            return True
        # What a person has to mend, no retry does.
        return run.retries < self._settings.run_retries and not isinstance(error, ProjectError)

    async def _drive(
        self, held: Held, config: RunnableConfig, listener: Listener, with_state: bool
    ) -> tuple[Mapping[str, Any], StateSnapshot | None]:
        """Return the values of the state that the graph ends in, and the whole of it if that is wanted, or it waits."""
        run = held.run
        thread: RunnableConfig = {"configurable": {"thread_id": run.thread_id}}
        given, gives = await self._next_payload(run, thread)
        clock, waits = Clock(), False
        values: Mapping[str, Any] | None = None
        blank = {run.thread_id} if run.blank else set()
        with fenced(Fence(run.run_id, run.attempt, gives, blank, continues=True)):
            if isinstance(given, Replay):
                config = await given.prepare(self._graph, config)
                given = None
            stream = self._graph.astream(
                given,
                config,
                context=self._settings,
                durability=DURABILITY,
                stream_mode=["tasks", "custom", "values"],
                control=held.control,
            )
            async for mode, item in stream:
                if mode == "values":
                    values = cast("Mapping[str, Any]", item)
                    continue
                event = clock.event(mode, item)
                if isinstance(event, NodeStarted):
                    held.begin()
                waits = waits or (isinstance(event, NodeFinished) and event.waits)
                if event:
                    listener(event)
        if not with_state and values is not None and not waits:
            return values, None
        snapshot = await self._graph.aget_state(thread)
        return snapshot.values, snapshot

    async def _next_payload(self, run: Run, thread: RunnableConfig) -> tuple[Any, str]:
        """Return what the graph is called with, and what of it is given once. Any: an input, a Command, a Replay, None.

        An answer is given alone, though others may have come: the write that stores one says not which one it is.
        """
        if run.has_input:
            payload = await self._ledger.payload(run)
            if purpose := purpose_of(payload):
                if purpose == COPY:  # what there is of it would be taken for the thread
                    with fenced(Fence(run.run_id, run.attempt)):
                        await self._checkpointer.adelete_thread(run.thread_id)
                raise errors.cut_off(ThreadId(run.thread_id), purpose)
            given = Replay.unpack(payload) or payload
            return await begin_with(self._graph, self._ledger, run, thread, given), INPUT
        snapshot = await go_on_from(self._graph, self._ledger, run, thread)
        pending = {interrupt.id for task in snapshot.tasks for interrupt in task.interrupts}
        for question in await self._ledger.questions(run.run_id):
            if question.state == "answered" and question.question_id in pending:
                return Command(resume={question.question_id: question.answer}), question.question_id
        return None, ""

    async def _settle_as(self, run: Run, snapshot: StateSnapshot | None, values: Mapping[str, Any]) -> Run:
        """Settle a run whose graph has come to an end, or to a question. Any: values of the state."""
        questions = asked(snapshot, self._settings) if snapshot else []
        if questions:
            return await self._settle(run, "waiting", questions=questions)
        failure = str(values.get("failure") or "")
        return await self._settle(run, "failed" if failure else "done", failure[:LONGEST_ERROR])

    async def _drained(self, run: Run, reason: str | None) -> Run:
        """Settle a run that stopped at a superstep because it was asked to."""
        if reason == SUPERSEDED:
            logger.info("the run ends: %s", SUPERSEDED)
            return await self._settle(run, "cancelled", SUPERSEDED)
        logger.info("the run is handed over: %s", reason)
        return await self._settle(run, "queued")

    async def _settle(
        self, run: Run, status: Status, error: str = "", *, questions: Sequence[Asked] = (), retry: bool = False
    ) -> Run:
        try:
            return await self._ledger.settle(run, status, error=error, questions=questions, retry=retry)
        except LeaseLost as lost:
            logger.warning("%s", lost)
            return (await self._ledger.find(run.run_id)) or run
