"""A graph's shape as plain data: the same in every process, under every Python."""

import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from langgraph.channels.base import BaseChannel
from langgraph.graph import StateGraph

Graph = StateGraph[Any, Any, Any, Any]  # Any: whatever state and context it has


def shape(graph: Graph) -> dict[str, Any]:  # Any: what JSON can hold
    """Return the graph's nodes, its edges, and the channels of its state with their types and reducers."""
    branches = [
        [node, name, *sorted((branch.ends or {}).values())]
        for node, named in graph.branches.items()
        for name, branch in named.items()
    ]
    return {
        "nodes": sorted(graph.nodes),
        "edges": sorted(graph.edges),
        "joins": sorted([end, *starts] for starts, end in graph.waiting_edges),
        "branches": sorted(branches),
        "state": {name: _channel(channel) for name, channel in sorted(graph.channels.items())},
    }


def _channel(channel: BaseChannel[Any, Any, Any]) -> list[str]:
    reducer = getattr(channel, "operator", None) or getattr(channel, "reducer", None)
    return [type(channel).__name__, describe(getattr(channel, "typ", None)), _function(reducer) if reducer else ""]


def describe(kind: Any) -> str:  # noqa: PLR0911 - one for each kind of annotation; Any: whatever it may be
    """Return a type in words of our own: its repr differs between releases of Python, and so do modules inside pathlib.

    The metadata of an Annotated is left out, so is the order of a union.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return describe(arguments[0])
    if origin is Literal:
        return f"Literal[{', '.join(sorted(map(repr, arguments)))}]"
    if origin in (Union, types.UnionType):
        return " | ".join(sorted(map(describe, arguments)))
    if isinstance(kind, list):
        return f"[{', '.join(map(describe, kind))}]"
    if origin is not None:
        return f"{describe(origin)}[{', '.join(map(describe, arguments))}]"
    if kind in (None, type(None)):
        return "None"
    if isinstance(kind, type):
        return _function(kind)
    return str(getattr(kind, "__name__", kind))


def _function(named: Callable[..., Any] | type) -> str:
    """Return the name of a class or function with its package; which module of it may differ between releases."""
    inner = getattr(named, "func", named)  # of a functools.partial
    package = str(getattr(inner, "__module__", "")).partition(".")[0]
    return f"{package}.{getattr(inner, '__qualname__', type(inner).__qualname__)}"
