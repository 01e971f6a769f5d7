"""A stored checkpoint in the form that today's graph reads.

LangGraph stores what comes next by name: a node's trigger is the channel `branch:to:NODE`, or `join:A+B:NODE` when it
waits for several, and a Send carries its node's name. A name that the graph does not have is passed over in silence,
and the thread would end there. So names are looked up in the stored checkpoint itself, and in the writes of tasks that
had finished when a process died before the next checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, Checkpoint, CheckpointTuple, PendingWrite
from langgraph.pregel import Pregel
from langgraph.types import Overwrite, Send

from .registry import Incompatible, Registry
from .status import UNDONE

BRANCH = "branch:to:"
JOIN = "join:"
TASKS = "__pregel_tasks"  # where Sends wait
INPUT = "__start__"  # holds an input until the first node begins
RESULTS = UNDONE | {"__return__", "__no_writes__"}  # what a task writes that is not for a channel of the graph

State = dict[str, Any]  # Any: values of the state
Graph = Pregel[Any, Any, Any, Any]  # Any: whatever state and context it has


@dataclass(frozen=True)
class Rewritten:
    """A checkpoint as it should be; what is the same as before is the same object."""

    checkpoint: Checkpoint
    changed: ChannelVersions  # the channels that have another name or value
    writes: list[PendingWrite]
    writes_changed: bool


class Rewriting:
    """What is to be done to one stored checkpoint of a graph, which has the state's version `since`."""

    def __init__(self, graph: Graph, registry: Registry, since: int, *, rename: bool) -> None:
        self.renamed: dict[str, str] = {}  # former names that were met
        self.reshaped: set[str] = set()  # keys of the state that have a new value
        self._graph = graph
        self._registry = registry
        self._since = since
        self._rename = rename
        self._joins = {_join(name): name for name in graph.channels if name.startswith(JOIN)}

    def apply(self, found: CheckpointTuple, saver: BaseCheckpointSaver[Any]) -> Rewritten:
        """Return the checkpoint with today's names and values. Any: the type of the saver's versions."""
        old = found.checkpoint
        following = saver.get_next_version(max(old["channel_versions"].values(), default=None), None)
        values, versions = self._values(old["channel_values"]), dict[str, Any]()
        for name, version in old["channel_versions"].items():
            new = self._channel(name)
            versions[new] = max(versions.get(new, version), version)
        for name, value in values.items():
            if name in self.reshaped or (name == TASKS and value is not old["channel_values"].get(TASKS)):
                versions[name] = following  # the value that is stored with the old version stays what it is
        changed = {name: version for name, version in versions.items() if old["channel_versions"].get(name) != version}
        pending = found.pending_writes or []
        writes = [self._write(write) for write in pending]
        same = all(len(made) == 1 and made[0] is write for made, write in zip(writes, pending, strict=True))
        checkpoint = old
        if changed:
            checkpoint = {
                **old,
                "channel_values": values,
                "channel_versions": versions,
                "updated_channels": None,  # a hint of which nodes are next, by channel: without it all are looked at
            }
        return Rewritten(checkpoint, changed, [write for made in writes for write in made], not same)

    def state(self, values: Mapping[str, Any]) -> State:
        """Return what a state, or a part of one, becomes: its changed keys. Any: values. Raises Incompatible."""
        made: State = {}
        for version, migrate in sorted(self._registry.state.items()):
            if version <= self._since:
                continue
            name = f"STATE[{version}] of agent/migrations.py"
            try:
                part = migrate({**values, **made})
            except Exception as error:
                raise Incompatible(f"{name} fails: {type(error).__name__}: {error}. Mend it") from error
            unknown = sorted(set(part) - set(self._graph.channels))
            if unknown:
                raise Incompatible(f"{name} makes {', '.join(unknown)}, which the state does not have. Mend it")
            made |= part
        return made

    def input(self, payload: Any) -> Any:  # Any: what a graph is called with
        """Return an input of former days in today's form; what a reducer is not to touch stays an Overwrite."""
        if not isinstance(payload, Mapping):
            return payload
        whole = {name for name, value in payload.items() if isinstance(value, Overwrite)}
        bare = {name: value.value if isinstance(value, Overwrite) else value for name, value in payload.items()}
        made = self.state(bare)
        if not made:
            return payload
        return {**payload, **{name: Overwrite(value) if name in whole else value for name, value in made.items()}}

    def _values(self, values: Mapping[str, Any]) -> State:
        made = self.state({name: value for name, value in values.items() if not name.startswith((BRANCH, JOIN, "__"))})
        self.reshaped |= made.keys()
        result: State = {}
        for name, value in values.items():
            if name == TASKS:
                sends = [self._send(send) for send in value]
                same = all(new is send for new, send in zip(sends, value, strict=True))
                result[name] = value if same else sends
            elif name == INPUT:
                result[name] = self.input(value)
                if result[name] is not value:
                    self.reshaped.add(name)
            elif name.startswith(JOIN) and name not in self._graph.channels:
                result[self._channel(name)] = self._arrived(value)
            else:
                result[self._channel(name)] = value
        return result | made

    def _write(self, write: PendingWrite) -> list[PendingWrite]:
        task, channel, value = write
        if channel in RESULTS:
            return [write]
        if channel == TASKS:
            sent = self._send(value) if isinstance(value, Send) else value
            return [write] if sent is value else [(task, channel, sent)]
        if channel.startswith((BRANCH, JOIN)):
            new = self._channel(channel)
            arrived = self._node(value) if isinstance(value, str) else value
            return [write] if new == channel else [(task, new, arrived)]
        whole = {channel: value}
        made = self.input(whole)
        return [write] if made is whole else [(task, name, new) for name, new in made.items()]

    def _node(self, name: str) -> str:
        new = self._registry.name_of(name, self._graph.nodes) if self._rename else name
        if new != name:
            self.renamed[name] = new
        return new

    def _channel(self, name: str) -> str:
        if name in self._graph.channels:
            return name
        if name.startswith(BRANCH):
            return BRANCH + self._node(name.removeprefix(BRANCH))
        if name.startswith(JOIN):
            starts, end = _join(name)
            return self._joins.get((frozenset(map(self._node, starts)), self._node(end)), name)
        return name

    def _send(self, send: Send) -> Send:
        node = self._node(send.node)
        return send if node == send.node else Send(node, send.arg)

    def _arrived(self, value: Any) -> Any:  # Any: the nodes that have finished; with a flag if the join is deferred
        if isinstance(value, list | tuple):
            return (self._arrived(value[0]), *value[1:])
        return {self._node(name) for name in value}


def missing_nodes(graph: Graph, checkpoint: Checkpoint, writes: list[PendingWrite]) -> list[str]:
    """Return the names of nodes that would come next, or are waited for, and that the graph does not have."""
    versions, seen = checkpoint["channel_versions"], checkpoint["versions_seen"]
    wanted: set[str] = set()
    for name, value in checkpoint["channel_values"].items():
        if name == TASKS:
            wanted |= {send.node for send in value if isinstance(send, Send)}
        elif name.startswith(BRANCH) and name not in graph.channels:
            node = name.removeprefix(BRANCH)
            if versions.get(name) != seen.get(node, {}).get(name):  # it has not begun since
                wanted.add(node)
        elif name.startswith(JOIN) and name not in graph.channels:
            wanted |= _lost(graph, name) if (value[0] if isinstance(value, list | tuple) else value) else set()
    for _, channel, value in writes:
        if channel == TASKS and isinstance(value, Send):
            wanted.add(value.node)
        elif channel.startswith(BRANCH) and channel not in graph.channels:
            wanted.add(channel.removeprefix(BRANCH))
        elif channel.startswith(JOIN) and channel not in graph.channels:
            wanted |= _lost(graph, channel)
    return sorted(name for name in wanted if name not in graph.nodes)


def _lost(graph: Graph, join: str) -> set[str]:
    """Return which names of a join the graph lacks; if it has them all, the join itself, as it is not there."""
    starts, end = _join(join)
    gone = {name for name in (*starts, end) if name not in graph.nodes}
    return gone or {f"{' + '.join(sorted(starts))} -> {end}"}


def _join(channel: str) -> tuple[frozenset[str], str]:
    starts, _, end = channel.removeprefix(JOIN).rpartition(":")
    return frozenset(starts.split("+")), end
