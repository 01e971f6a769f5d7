"""The project's source: its files as syntax trees, the graph's nodes, and what a node's code calls."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from langchain_core.runnables import Runnable
from langgraph.graph.state import CompiledStateGraph, StateGraph

from ... import agent
from ...agent import build_graph
from ..engine.check import Place

PACKAGE = Path(__file__).parents[2]
AGENT = Path(str(agent.__file__)).parent

Code = Callable[..., Any]  # Any: a node, a task, a function of whatever signature
Graph = StateGraph[Any, Any, Any, Any]  # Any: whatever state and context it has


@dataclass(frozen=True)
class Node:
    """A node of the graph or of one of its sub-graphs."""

    name: str
    path: str  # its name behind the names of the nodes that its sub-graphs are, such as "research:search"
    code: Code
    graph: Graph
    is_async: bool

    @property
    def place(self) -> Place | None:
        """Where it is written."""
        return Place.of(self.code)


def nodes(graph: Graph | None = None, path: str = "") -> list[Node]:
    """Return the nodes of a graph, the team's by default, and of its sub-graphs. A sub-graph itself is none."""
    graph = build_graph() if graph is None else graph
    found: list[Node] = []
    for name, spec in graph.nodes.items():
        inner: Any = spec.runnable  # Any: a RunnableCallable, a compiled graph, or another Runnable
        if isinstance(inner, CompiledStateGraph):
            found += nodes(inner.builder, f"{path}{name}:")
            continue
        asynchronous, plain = getattr(inner, "afunc", None), getattr(inner, "func", None)
        if plain and getattr(asynchronous, "__wrapped__", None) is plain:
            asynchronous = None  # LangGraph's own, which runs the plain function in a thread
        code = asynchronous or plain or type(inner).ainvoke
        is_async = bool(asynchronous) or not (plain or code is Runnable.ainvoke)
        found.append(Node(name, path + name, _unwrapped(code), graph, is_async=is_async))
    return found


def graphs(graph: Graph | None = None, path: str = "") -> list[tuple[str, Graph]]:
    """Return a graph, the team's by default, and its sub-graphs, each with the path of the node that it is."""
    graph = build_graph() if graph is None else graph
    found: list[tuple[str, Graph]] = [(path, graph)]
    for name, spec in graph.nodes.items():
        if isinstance(spec.runnable, CompiledStateGraph):
            found += graphs(spec.runnable.builder, f"{path}{name}:")
    return found


@cache
def tree(file: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(file.read_text("utf-8"), str(file))


def files(folder: Path = PACKAGE, *, but: tuple[str, ...] = ("readiness",)) -> list[Path]:
    """Return the Python files below a folder, without those of the rooms named in `but`."""
    found = sorted(folder.rglob("*.py"))
    return [file for file in found if not {*file.relative_to(PACKAGE).parts} & {*but, "__pycache__"}]


@dataclass(frozen=True)
class Function:
    """A function's syntax tree, with its names as its module knows them."""

    code: Code
    tree: ast.AST
    file: Path
    line: int  # of the file, before the function's first

    def place(self, at: ast.AST) -> Place:
        """Return where a part of the tree is written."""
        return Place(self.file, self.line + getattr(at, "lineno", 1))

    def value(self, name: ast.expr) -> Any:  # Any: whatever the name stands for
        """Return what a name or `module.name` stands for; None if that is only known when it runs."""
        if isinstance(name, ast.Name):
            closure = inspect.getclosurevars(self.code)
            return closure.nonlocals.get(name.id, getattr(self.code, "__globals__", {}).get(name.id))
        if isinstance(name, ast.Attribute):
            owner = self.value(name.value)
            return getattr(owner, name.attr, None) if isinstance(owner, ModuleType | type) else None
        return None


@cache
def function(code: Code) -> Function | None:
    """Return a function's syntax tree; None for what has no source."""
    plain = _unwrapped(code)
    try:
        lines, line = inspect.getsourcelines(plain)
        parsed = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):  # SyntaxError: a lambda in the middle of an expression
        return None
    return Function(plain, parsed.body[0], Path(str(inspect.getsourcefile(plain))), line - 1)


def called_by(code: Code) -> Iterator[Function]:
    """Yield a function and the project's functions that it calls, and they, each once."""
    seen: set[Code] = set()
    left = [_unwrapped(code)]
    while left:
        current = left.pop()
        if current in seen:
            continue
        seen.add(current)
        found = function(current)
        if found is None:
            continue
        yield found
        for part in ast.walk(found.tree):
            if isinstance(part, ast.Name | ast.Attribute):
                value = found.value(part)
                plain = _unwrapped(value) if callable(value) else None
                if inspect.isfunction(plain) and _is_ours(plain):
                    left.append(plain)


def _unwrapped(code: Any) -> Any:  # Any: a function, a partial, a @task, an object with `__call__`
    while True:
        inner = getattr(code, "func", None) or getattr(code, "__wrapped__", None)
        if inner is None or inspect.ismodule(inner):
            break
        code = inner
    if not inspect.isroutine(code) and not inspect.isclass(code) and callable(code):
        return type(code).__call__
    return code


def _is_ours(code: Code) -> bool:
    module = sys.modules.get(getattr(code, "__module__", "") or "")
    return Path(str(getattr(module, "__file__", "") or "/")).is_relative_to(PACKAGE)
