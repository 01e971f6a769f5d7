"""The cycles of a graph, and which of their edges are bounded.

An edge is bounded if the code that chooses it asks first how often it may still be chosen: for the amount of a key of
the state that a node of the same cycle counts with, or for a managed value such as RemainingSteps.
"""

import ast
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from langgraph.channels import BinaryOperatorAggregate
from langgraph.graph.state import CompiledStateGraph

from ..engine.check import Place
from .loop_choices import EMPTY, NONE, Keys, choices, names, read, stops
from .nodes import Code, Function, Graph, called_by, function, nodes

Edge = tuple[str, str]


def loops(graph: Graph) -> list[frozenset[str]]:
    """Return the groups of nodes that lead back to themselves."""
    edges = [edge for edge, _ in _edges(graph)]
    return list({around for name in graph.nodes if (around := _around(name, edges))})


def unbounded(graph: Graph) -> list[tuple[list[str], Place | None]]:
    """Return a cycle without a bounded edge for each group of nodes that has one, and where its way back is chosen."""
    edges = list(_edges(graph))
    left: list[Edge] = []
    for around in loops(graph):
        counted = _Counted(graph, around)
        tired = {name for name in around if any(key in counted for code in _code(graph, name) for key in stops(code))}
        for (source, target), asked in edges:
            inside = source in around and target in around and source not in tired
            if inside and not any(key in counted for key in asked):
                left.append((source, target))
    found: dict[frozenset[str], list[str]] = {}
    for name in sorted({source for source, _ in left}):
        if around := _around(name, left):
            found.setdefault(around, _cycle(name, left))
    return [(cycle, _place(graph, cycle)) for cycle in found.values()]


class _Counted:
    """The keys, as a condition asks for them, that the nodes of a cycle count with."""

    def __init__(self, graph: Graph, around: Collection[str]) -> None:
        self._graph = graph
        self._codes = [code for name in around for code in _code(graph, name)]

    def __contains__(self, asked: str) -> bool:
        key = asked.removesuffix(EMPTY)
        if key in self._graph.managed:
            return True
        written = [code for code in self._codes if _writes(code.tree, key)]
        joined = isinstance(self._graph.channels.get(key), BinaryOperatorAggregate) and asked == key
        return any(joined or _shrinks(code.tree, key) or (asked == key and _adds(code.tree, key)) for code in written)


def _writes(tree: ast.AST, key: str) -> bool:
    for part in ast.walk(tree):
        match part:
            case ast.Dict(keys=keys) if any(isinstance(each, ast.Constant) and each.value == key for each in keys):
                return True
            case ast.keyword(arg=name) if name == key:
                return True
            case ast.Subscript(slice=ast.Constant(value=name), ctx=ast.Store()) if name == key:
                return True
    return False


def _adds(tree: ast.AST, key: str) -> bool:
    """Tell whether a sum, or a list around the old one, is made of the key."""
    known = names(tree)
    sums = (part for part in ast.walk(tree) if isinstance(part, ast.BinOp | ast.AugAssign | ast.Starred))
    return any(read(part, known) == key for each in sums for part in ast.walk(each))


def _shrinks(tree: ast.AST, key: str) -> bool:
    """Tell whether something is taken away of the key."""
    known = names(tree)
    for part in ast.walk(tree):
        match part:
            case ast.Subscript(value=whole, slice=ast.Slice()) if read(whole, known) == key:
                return True
            case ast.Call(func=ast.Attribute(value=whole, attr="pop")) if read(whole, known) == key:
                return True
            case ast.Assign(targets=[ast.Tuple(elts=parts)], value=whole) if read(whole, known) == key:
                return any(isinstance(each, ast.Starred) for each in parts)
            case ast.ListComp(generators=[ast.comprehension(iter=whole, ifs=[_, *_])]) if read(whole, known) == key:
                return True
            case ast.BinOp(left=whole, op=ast.Sub()) if read(whole, known) == key:
                return True
    return False


def _edges(graph: Graph) -> Iterator[tuple[Edge, Keys]]:
    """Yield each edge between nodes, with what is asked before it is taken."""
    for edge in graph.edges:
        yield edge, NONE
    for sources, target in graph.waiting_edges:
        yield from (((source, target), NONE) for source in sources)
    for source, branches in graph.branches.items():
        for branch in branches.values():
            targets = branch.ends or {name: name for name in graph.nodes}
            yield from _chosen(source, targets, _router(branch.path))
    for source, spec in graph.nodes.items():
        if spec.ends:
            yield from _chosen(source, {name: name for name in spec.ends}, _router(spec.runnable))


def _chosen(
    source: str, targets: Mapping[Any, str], code: Function | None
) -> Iterator[tuple[Edge, Keys]]:  # Any: labels
    ways = choices(code) if code else []
    for label, target in targets.items():
        asked = [way.asked for way in ways if way.target in {label, None}]
        if asked or not ways:
            yield (source, target), asked[0].intersection(*asked) if asked else NONE


def _router(runnable: Any) -> Function | None:  # Any: a function, or a Runnable around one
    return function(_plain(runnable) or runnable)


def _plain(runnable: Any) -> Code | None:  # Any: as above
    """Return the function of a Runnable. One that is not async has an `afunc` too, LangGraph's own."""
    return getattr(runnable, "func", None) or getattr(runnable, "afunc", None)


def _code(graph: Graph, name: str) -> list[Function]:
    """Return the code of a node, or of all nodes of the sub-graph that it is, with the functions that they call."""
    if name not in graph.nodes:
        return []
    runnable: Any = graph.nodes[name].runnable  # Any: a RunnableCallable, a compiled graph, or another Runnable
    if isinstance(runnable, CompiledStateGraph):
        return [code for node in nodes(runnable.builder) for code in called_by(node.code)]
    code = _plain(runnable)
    return list(called_by(code)) if code else []


def _around(name: str, edges: Collection[Edge]) -> frozenset[str]:
    """Return the nodes that a node leads to and that lead back to it; none if it does not come back to itself."""
    ahead = _reached({name}, edges)
    behind = _reached({name}, [(target, source) for source, target in edges])
    return frozenset(ahead & behind)


def _reached(begin: set[str], edges: Collection[Edge]) -> set[str]:
    found: set[str] = set()
    left = set(begin)
    while left:
        left = {target for source, target in edges if source in left} - found
        found |= left
    return found


def _cycle(name: str, edges: Collection[Edge]) -> list[str]:
    """Return the shortest way from a node back to it."""
    ways = [[name]]
    for way in ways:  # it grows meanwhile
        for source, target in sorted(edges):
            if source == way[-1] and target == name:
                return [*way, name]
            if source == way[-1] and target not in way:
                ways.append([*way, target])
    return [name]


def _place(graph: Graph, cycle: Collection[str]) -> Place | None:
    chosen: list[object] = [branch.path for name in cycle for branch in graph.branches.get(name, {}).values()]
    chosen += [graph.nodes[name].runnable for name in cycle if graph.nodes[name].ends]
    codes = [code for runnable in chosen if (code := _router(runnable))]
    return Place(codes[0].file, codes[0].line + 1) if codes else None
