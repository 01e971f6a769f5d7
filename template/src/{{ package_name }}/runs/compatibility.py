"""Old threads on new code: before a run goes on, what it goes on from is made to fit today's graph, or it is an error.

What is registered (see `registry`) is applied to the checkpoint in place, with one write, under the run's lease: so the
tasks of the step under way keep their ids, and with them the questions that are open, the results of finished tasks,
and the idempotency keys. The version of the state is part of the checkpoint's metadata, so the same write says that it
was done: a process that dies before it has done nothing, and one that dies after it is not followed by a second one.
Only a task that has got another name begins anew.

The writes of tasks that had finished when a process died cannot be replaced in place. If some have to change, the
checkpoint is stored anew, with the writes of the finished tasks under the ids that these have there.
"""

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    empty_checkpoint,
)
from langgraph.checkpoint.memory import InMemorySaver  # noqa: TID251 - of a trial, which is thrown away
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.types import StateSnapshot

from ..errors import PROGRAM
from ..persistence import Fence, Ledger, Run, fenced
from . import rewriting
from .config import graph_version
from .registry import Incompatible, NewerRelease, Registry, registered, state_version
from .replay import Replay
from .rewriting import Rewriting, Rewritten, missing_nodes
from .threads import ThreadId

Graph = CompiledStateGraph[Any, Any, Any, Any]  # Any: whatever state and context it has
Saver = BaseCheckpointSaver[Any]  # Any: the type of its versions


async def go_on_from(graph: Graph, ledger: Ledger, run: Run, thread: RunnableConfig) -> StateSnapshot:
    """Return the state that a run goes on from, once it fits the graph. Raises Incompatible."""
    await _Fitting(graph, ledger, run).fit(thread)
    return await graph.aget_state(thread)


async def begin_with(
    graph: Graph,
    ledger: Ledger,
    run: Run,
    thread: RunnableConfig,
    payload: Any,  # Any: the graph's input, or a Replay
) -> Any:
    """Return what a run is given, in today's form, once the thread that it enters has it too. Raises Incompatible.

    What the thread had yet to do, an input discards; so does a replay that says as which node its patch is made, which
    is how one goes on by hand.
    """
    fitting = _Fitting(graph, ledger, run)
    if isinstance(payload, Replay):
        await _saver(graph).aget_tuple(thread)  # what it stores is to be newer than the newest: see persistence.clock
        ids = {**thread["configurable"], "checkpoint_ns": "", "checkpoint_id": payload.checkpoint}
        await fitting.fit({"configurable": ids}, rename=payload.as_node is None, writes=False)
        return payload
    if fitting.registry.version:  # else there is nothing to look for, and a new thread is not kept waiting
        await fitting.fit(thread, rename=False)
    return Rewriting(graph, fitting.registry, state_version(run.graph_version), rename=False).input(payload)


async def snapshot_of(graph: Graph, thread: ThreadId) -> StateSnapshot:
    """Return a thread's state to look at, which need not fit the graph.

    Into a state LangGraph puts what finished tasks have returned. Values of former days may be too much for today's
    reducers; then it is left as it was before those tasks.
    """
    config: RunnableConfig = {"configurable": {"thread_id": thread}}
    try:
        return await graph.aget_state(config)
    except Exception:
        found = await _saver(graph).aget_tuple(config)
        if found is None or not found.pending_writes:
            raise
        ids = found.config["configurable"]
        return await graph.aget_state({"configurable": {**ids, "checkpoint_id": found.checkpoint["id"]}})


async def is_cut_short(graph: Graph, thread: ThreadId) -> bool:
    """Return whether a thread that seems to have no next node has one, which the graph does not have."""
    found = await _saver(graph).aget_tuple({"configurable": {"thread_id": thread}})
    return found is not None and bool(missing_nodes(graph, found.checkpoint, found.pending_writes or []))


class _Fitting:
    """Makes the checkpoints of one run's thread fit."""

    def __init__(self, graph: Graph, ledger: Ledger, run: Run) -> None:
        self.registry: Registry = registered()
        self._graph = graph
        self._saver = _saver(graph)
        self._ledger = ledger
        self._run = run

    async def fit(self, place: RunnableConfig, *, rename: bool = True, writes: bool = True) -> None:
        """Make the checkpoint at `place` fit, and with `rename` those of its sub-graphs that are at work.

        Without `writes` it is gone on from as if no task had finished: what tasks have stored there does not matter.
        """
        found = await self._saver.aget_tuple(place)
        if found is None:
            return
        found = found if writes else found._replace(pending_writes=[])
        since = await self._version_of(found)
        await self._fit(self._graph, found, since, rename=rename)
        if rename:
            await self._fit_inner(self._graph, place)

    async def _fit_inner(self, graph: rewriting.Graph, place: RunnableConfig) -> None:
        """Do the same to sub-graphs. Their state has no version: what is registered is the form of the graph's own."""
        inner = {name: sub async for name, sub in graph.aget_subgraphs() if isinstance(sub, Pregel)}
        if not inner:
            return
        snapshot = await self._graph.aget_state(place)
        for task in snapshot.tasks:
            if task.name in inner and isinstance(task.state, dict):
                found = await self._saver.aget_tuple(task.state)
                if found:
                    await self._fit(inner[task.name], found, self.registry.version, rename=True)
                    await self._fit_inner(inner[task.name], task.state)

    async def _fit(self, graph: rewriting.Graph, found: CheckpointTuple, since: int, *, rename: bool) -> None:
        rewritten = (work := Rewriting(graph, self.registry, since, rename=rename)).apply(found, self._saver)
        if rename:
            missing = missing_nodes(graph, rewritten.checkpoint, rewritten.writes)
            if missing:
                raise _gone(self._run.thread_id, missing, graph)
        if rewritten.changed or rewritten.writes_changed:
            parts = [f"node {old} is now {new}" for old, new in sorted(work.renamed.items())]
            if since != self.registry.version:
                parts.append(f"state {since} -> {self.registry.version} ({', '.join(sorted(work.reshaped)) or 'same'})")
            text = f"checkpoint {found.checkpoint['id']}: {'; '.join(parts)}"
            # Noted first: a process that dies in between leaves a line too many, and not a change without a line.
            await self._ledger.note("migrated", self._run, text)
            await self._store(graph, found, rewritten)

    async def _store(self, graph: rewriting.Graph, found: CheckpointTuple, rewritten: Rewritten) -> None:
        metadata: CheckpointMetadata = {**found.metadata, "graph_version": graph_version(self._graph)}  # type: ignore[typeddict-unknown-key]  # a config's metadata goes there
        with fenced(Fence(self._run.run_id, self._run.attempt)):
            if rewritten.writes_changed:
                await self._store_anew(graph, found, rewritten, metadata)
                return
            onto = found.parent_config or _without_checkpoint(found.config)
            await self._saver.aput(onto, rewritten.checkpoint, metadata, rewritten.changed)

    async def _store_anew(
        self, graph: rewriting.Graph, found: CheckpointTuple, rewritten: Rewritten, metadata: CheckpointMetadata
    ) -> None:
        """Store the checkpoint under a new id. The writes come first: until it is there, nobody reads them."""
        checkpoint: Checkpoint = {**rewritten.checkpoint, "id": empty_checkpoint()["id"]}
        place: RunnableConfig = {"configurable": {**found.config["configurable"], "checkpoint_id": checkpoint["id"]}}
        trial = InMemorySaver(serde=self._saver.serde)
        await trial.aput(_without_checkpoint(place), checkpoint, metadata, checkpoint["channel_versions"])
        ids: dict[tuple[Any, ...], str] = {}  # Any: a task's name and path
        before = await self._graph.aget_state(found.config)
        if graph is self._graph:  # the finished tasks of a sub-graph work again: it cannot be tried alone
            after = await graph.copy({"checkpointer": trial}).aget_state(place)
            ids = {(task.name, task.path): task.id for task in after.tasks}
        for task in before.tasks:
            writes = [(channel, value) for owner, channel, value in rewritten.writes if owner == task.id]
            if writes and (task.name, task.path) in ids:
                await self._saver.aput_writes(place, writes, ids[task.name, task.path])
        await self._saver.aput(found.config, checkpoint, metadata, rewritten.changed)

    async def _version_of(self, found: CheckpointTuple) -> int:
        """Return the version of a checkpoint's state. Raises Incompatible if this release cannot come from there."""
        at: CheckpointTuple | None = found
        while at and "graph_version" not in at.metadata and at.parent_config:  # stored by hand: as the one before it
            at = await self._saver.aget_tuple(at.parent_config)
        since = state_version(str(at.metadata.get("graph_version", ""))) if at else 0
        lacking = [number for number in range(since + 1, self.registry.version) if number not in self.registry.state]
        thread = f"thread {self._run.thread_id} has version {since} of the state"
        if since > self.registry.version:
            raise NewerRelease(
                f"{thread}, from a newer release; this one knows {self.registry.version}: deploy the newer one, then "
                f"`{PROGRAM} resume {self._run.thread_id}`"
            )
        if lacking:
            raise Incompatible(
                f"{thread}, and this release has {self.registry.version}: put STATE[{lacking[0]}] back into "
                f"agent/migrations.py, then `{PROGRAM} resume {self._run.thread_id}`"
            )
        return since


def _gone(thread: str, missing: Sequence[str], graph: rewriting.Graph) -> Incompatible:
    names = ", ".join(map(repr, missing))
    has = ", ".join(sorted(name for name in graph.nodes if not name.startswith("__")))
    config = f'{{"configurable": {{"thread_id": "{thread}"}}}}'
    return Incompatible(
        f"thread {thread} stops at {names}, which this release's graph does not have (it has {has}). Renamed? Write "
        f'RENAMED = {{"{missing[0]}": "<its new name>"}} into agent/migrations.py. Removed? Go on behind the node '
        f'before it: `await graph.aupdate_state({config}, None, as_node="<that node>")`. Then '
        f"`{PROGRAM} resume {thread}`"
    )


def _saver(graph: Graph) -> Saver:
    if not isinstance(graph.checkpointer, BaseCheckpointSaver):
        raise TypeError("the graph has no checkpointer")
    return graph.checkpointer


def _without_checkpoint(config: RunnableConfig) -> RunnableConfig:
    ids = config["configurable"]
    return {"configurable": {"thread_id": ids["thread_id"], "checkpoint_ns": ids.get("checkpoint_ns", "")}}
