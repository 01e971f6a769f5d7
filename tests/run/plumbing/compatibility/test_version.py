"""The graph's version."""

import os
import subprocess
import sys
from collections.abc import Callable
from operator import add
from typing import Annotated, Any, TypedDict

from acme_agent.runs.config import graph_version
from langgraph.graph import END, START, StateGraph

from .conftest import Built, Nodes, Text, Texts, listed, row

_SHAPE = """
import sys
from typing import Annotated, Literal, Optional, TypedDict, Union
from pathlib import Path
from operator import add
from langgraph.graph import END, START, StateGraph
from acme_agent.runs.config import graph_version

class State(TypedDict, total=False):
    log: Annotated[list[str], add]
    kind: Literal["b", "a"]
    file: Optional[Path]
    other: Union[int, None, str]
    table: dict[str, tuple[int, ...]]

graph = StateGraph(State)
for name in "abcd":
    graph.add_node(name, print)
graph.add_edge(START, "a").add_edge(["b", "a"], "d").add_conditional_edges("a", print, {"x": "b", "y": "c"})
print(graph_version(graph.compile()))
"""


def test_version_is_the_same_in_every_process_and_python() -> None:
    """The value is what every Python that CI has must compute: a change of it is a change of what is looked at."""
    versions = {
        subprocess.run(
            [sys.executable, "-c", _SHAPE],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in range(3)
    }
    assert versions == {"439cff53.0"}


def test_version_follows_nodes_edges_and_state() -> None:
    def graph(state: type = Text, *, more: bool = False, edge: bool = False) -> Any:
        built: Built = StateGraph(state)
        for name in ("a", "b", "c") if more else ("a", "b"):
            built.add_node(name, lambda _: {})
            built.add_edge(START, name)
        if edge:
            built.add_edge("a", "b")
        built.add_edge("b", END)
        return built

    class Replaced(TypedDict, total=False):
        log: list[str]
        topic: str

    class Reduced(TypedDict, total=False):
        log: Annotated[list[str], lambda left, right: right or left]
        topic: str

    class Renamed(TypedDict, total=False):
        log: Annotated[list[str], add]
        title: str

    class Same(TypedDict, total=False):
        topic: str
        log: Annotated[list[str], add]

    def wrapped(state: type) -> Any:
        return row(Text, outer=graph(state).compile())

    def version(built: Any) -> str:
        return graph_version(built.compile())

    assert version(graph()) == version(graph(Same))
    different = [graph(), graph(Texts), graph(more=True), graph(edge=True), graph(Replaced), graph(Renamed)]
    different += [graph(Reduced), wrapped(Text), wrapped(Texts)]
    assert len({version(built) for built in different}) == len(different)


def test_version_tells_the_state_s_own(release: Callable[..., None]) -> None:
    graph = row(Text, a=Nodes()("a")).compile()
    assert graph_version(graph).endswith(".0")
    release(state={3: listed, 2: listed})
    assert graph_version(graph).endswith(".3")
