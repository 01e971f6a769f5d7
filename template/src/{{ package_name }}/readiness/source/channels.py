"""The channels of the graph's state and of its sub-graphs' states, as far as a checkpoint holds them."""

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph.channels.base import BaseChannel
from langgraph.channels.untracked_value import UntrackedValue
from langgraph.graph.state import CompiledStateGraph

from ...agent import build_graph
from ..engine.check import Place
from .nodes import Graph


@dataclass(frozen=True)
class Channel:
    """A channel of a state."""

    name: str
    path: str  # of the sub-graph that it belongs to, such as "research:"; empty for the graph itself
    graph: Graph
    channel: BaseChannel[Any, Any, Any]  # Any: whatever it holds

    @property
    def label(self) -> str:
        """Its name for a person."""
        return f"channel {self.path}{self.name}"

    @property
    def annotation(self) -> Any:  # Any: a type, or a form of `typing`
        """What its values are said to be."""
        return self.channel.ValueType

    @property
    def place(self) -> Place | None:
        """Where it is annotated: its line in the schema that names it."""
        for schema, named in self.graph.schemas.items():
            if self.name not in named:
                continue
            for kind in inspect.getmro(schema):
                if place := _line_of(self.name, kind):
                    return place
            return Place.of(schema)
        return None


def stored_graphs(graph: Graph | None = None, path: str = "") -> Iterator[tuple[str, Graph]]:
    """Yield a graph, the team's by default, and its sub-graphs but those that keep no checkpoint, with their paths."""
    graph = build_graph() if graph is None else graph
    yield path, graph
    for name, spec in graph.nodes.items():
        inner = spec.runnable
        if isinstance(inner, CompiledStateGraph) and inner.checkpointer is not False:
            yield from stored_graphs(inner.builder, f"{path}{name}:")


def channels(graphs: Iterable[tuple[str, Graph]] | None = None) -> list[Channel]:
    """Return the channels of graphs, by default of those whose state is stored; without those that never are."""
    return [
        Channel(name, path, graph, channel)
        for path, graph in (stored_graphs() if graphs is None else graphs)
        for name, channel in graph.channels.items()
        if not isinstance(channel, UntrackedValue)
    ]


def path_of(namespace: str) -> str:
    """Return the path of the sub-graph that a checkpoint's namespace belongs to: "a:<task>|b:<task>" is "a:b:"."""
    return "".join(f"{part.partition(':')[0]}:" for part in namespace.split("|") if part)


def _line_of(name: str, kind: type) -> Place | None:
    try:
        lines, first = inspect.getsourcelines(kind)
        file = Path(inspect.getsourcefile(kind) or "")
    except (TypeError, OSError):
        return None
    annotated = re.compile(rf"\s+{re.escape(name)}\s*:")
    return next((Place(file, first + at) for at, line in enumerate(lines) if annotated.match(line)), None)
