"""Who writes which channel: the nodes whose code returns it, and those that wrote it when the scenarios were played."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from langgraph.constants import START
from langgraph.types import Command, Overwrite, Send
from typing_extensions import is_typeddict

from ..engine.check import Place
from ..playing.play import Played, Write
from .channels import path_of
from .nodes import Code, Function, Graph, called_by, function, graphs, nodes

MANY = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.GeneratorExp, ast.Lambda)  # what is made here is made often
NOTHING = object()  # in the place of a value that a channel does not have yet


@dataclass
class Parallel:
    """What tasks of one superstep wrote into a channel."""

    before: Any  # Any: the channel's value
    writes: list[list[Any]]  # of each task. Any: as above
    nodes: list[str]


@dataclass
class Writers:
    """The writers of a channel. A node that empties it, or gives back what it holds, is none: nothing is lost so."""

    places: dict[str, Place | None] = field(default_factory=dict)  # of the nodes that write it, by their names
    side_by_side: set[str] = field(default_factory=set)  # of these, those that several tasks of a superstep are
    parallel: list[Parallel] = field(default_factory=list)


def writers_of(records: Iterable[Played]) -> dict[tuple[str, str], Writers]:
    """Return the writers of every channel, by its graph's path and its name."""
    found: dict[tuple[str, str], Writers] = defaultdict(Writers)
    for path, graph in graphs():
        fanned_out = set(_fanned_out(graph))
        for node in (each for each in nodes(graph) if each.graph is graph):
            for name, place in _returned(node.code):
                writers = found[path, name]
                writers.places.setdefault(node.name, place)
                writers.side_by_side |= {node.name} & fanned_out
    for played in records:
        _watch(played, found)
    return found


def _watch(played: Played, found: dict[tuple[str, str], Writers]) -> None:
    """Add what was written when a scenario was played."""
    before = {(one.namespace, one.id): one.values for one in played.checkpoints}
    together: dict[tuple[str, str, str], dict[str, list[Write]]] = defaultdict(lambda: defaultdict(list))
    for write in played.writes:
        values = before.get((write.namespace, write.checkpoint), {})
        if write.node not in ("", START):
            together[write.namespace, write.checkpoint, write.channel][write.task].append(write)
            if not _is_idle(write.value, values.get(write.channel, NOTHING)):
                found[path_of(write.namespace), write.channel].places.setdefault(write.node, None)
    for (namespace, checkpoint, channel), tasks in together.items():
        if len(tasks) > 1:
            writers = found[path_of(namespace), channel]
            at = before.get((namespace, checkpoint), {}).get(channel, NOTHING)
            names = sorted({written[0].node for written in tasks.values()})
            writes = [[write.value for write in written] for written in tasks.values()]
            writers.parallel.append(Parallel(at, writes, names))
            writers.side_by_side.update(names)


def _is_idle(value: object, before: object) -> bool:
    value = value.value if isinstance(value, Overwrite) else value
    if value is None or (isinstance(value, list | dict | set | tuple) and not value):
        return True
    try:
        return bool(value == before)
    except ValueError:  # an array's answer is another array
        return False


def _returned(code: Code) -> Iterator[tuple[str, Place]]:
    """Yield the keys of what a node returns, as far as they stand in its own code."""
    found = function(code)
    if found is None:
        return
    for part in _own(found.tree):
        if isinstance(part, ast.Return) and part.value:
            for key, value in _items(part.value, found):
                if not _is_empty(value) and not _gives_back(key, value):
                    yield key, found.place(value)


def _items(made: ast.expr, found: Function) -> Iterator[tuple[str, ast.expr]]:
    """Yield the keys and values of the dicts that an expression is, or is made of."""
    called = found.value(made.func) if isinstance(made, ast.Call) else None
    match made:
        case ast.Dict():
            for key, value in zip(made.keys, made.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, value
        case ast.Call() if called is Command:
            for given in made.keywords:
                if given.arg == "update":
                    yield from _items(given.value, found)
        case ast.Call() if called is dict or is_typeddict(called):
            yield from ((given.arg, given.value) for given in made.keywords if given.arg)
        case ast.IfExp():
            yield from _items(made.body, found)
            yield from _items(made.orelse, found)
        case ast.List() | ast.Tuple():
            for each in made.elts:
                yield from _items(each, found)
        case ast.Name():
            for part in _own(found.tree):
                yield from _assigned(part, made.id, found)


def _assigned(part: ast.AST, name: str, found: Function) -> Iterator[tuple[str, ast.expr]]:
    """Yield the keys and values that a statement puts into the variable that is returned."""
    match part:
        case ast.Assign(targets=[ast.Name(id=target)], value=ast.expr() as value) if target == name:
            yield from () if isinstance(value, ast.Name) else _items(value, found)
        case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
            yield from () if isinstance(value, ast.Name) else _items(value, found)
        case ast.Assign(targets=[ast.Subscript(ast.Name(id=target), ast.Constant(value=str() as key))]) if (
            target == name
        ):
            yield key, part.value


def _own(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a function without those of the functions inside it."""
    for part in ast.iter_child_nodes(tree):
        yield part
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from _own(part)


def _is_empty(value: ast.expr) -> bool:
    match value:
        case ast.Call(func=ast.Name(id="Overwrite"), args=[inner]):
            return _is_empty(inner)
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Dict(values=parts):
            return not parts
        case ast.Call(func=ast.Name(id="list" | "dict" | "set"), args=[], keywords=[]) | ast.Constant(value=None):
            return True
    return False


def _gives_back(key: str, value: ast.expr) -> bool:
    """Whether a value is the state's own: `state["key"]`, `state.get("key")` or `state.key`."""
    match value:
        case ast.Subscript(ast.Name(), ast.Constant(held)) | ast.Attribute(ast.Name(), held):
            return held == key
        case ast.Call(ast.Attribute(ast.Name(), "get"), [ast.Constant(held), *_]):
            return held == key
    return False


def _fanned_out(graph: Graph) -> Iterator[str]:
    """Yield the nodes for which a loop makes Sends, in the code of an edge or of a node."""
    edges: list[Any] = [branch.path for named in graph.branches.values() for branch in named.values()]  # Any: Runnables
    codes = [getattr(edge, "func", None) or getattr(edge, "afunc", None) for edge in edges]
    codes += [node.code for node in nodes(graph) if node.graph is graph]
    for found in (each for code in codes if code for each in called_by(code)):
        for loop in (part for part in ast.walk(found.tree) if isinstance(part, MANY)):
            for call in (part for part in ast.walk(loop) if isinstance(part, ast.Call)):
                named = [*call.args[:1], *(given.value for given in call.keywords if given.arg == "node")]
                if named and isinstance(named[0], ast.Constant) and found.value(call.func) is Send:
                    yield str(named[0].value)
