"""Which calls in the source run a compiled graph. What nodes and models are called with is none of it."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..engine.check import Place
from . import nodes as source
from .imported import OURS, argument, assigned, calls, dotted, imports, is_open

RUNS = frozenset("invoke ainvoke stream astream stream_events astream_events astream_log batch abatch".split())
MAKERS = re.compile(r"(^|\.)(create_react_agent|create_agent|create_deep_agent|create_supervisor|create_swarm)$")
TYPES = re.compile(r"\b(CompiledStateGraph|CompiledGraph|Pregel)\b")
CALLED_SO = re.compile(r"_*(compiled_?)?(graph|agent|app|workflow)(_?compiled)?", re.IGNORECASE)


@dataclass(frozen=True)
class GraphCall:
    """A call that runs a graph."""

    text: str  # such as graph.ainvoke
    config: ast.expr | None
    is_open: bool  # whether it may have a config that its text does not tell
    in_node: bool  # LangGraph hands the config of the run on to what a node calls
    file: Path
    place: Place


def graph_calls() -> Iterator[GraphCall]:
    """Yield the calls of the package's source that run a graph."""
    inside = _spans_of_nodes()
    for file in source.files():
        for call, _, place in calls(file):
            if isinstance(call.func, ast.Attribute) and call.func.attr in RUNS and _is_graph(call.func.value, file):
                in_node = any(first <= place.line <= last for first, last in inside.get(file, ()))
                config = argument(call, "config", 1)
                yield GraphCall(ast.unparse(call.func), config, is_open(call), in_node, file, place)


def _is_graph(expression: ast.expr, file: Path) -> bool:
    """Return whether an expression is a compiled graph: by what made it, by its type, else by what it is called."""
    while isinstance(expression, ast.Await):
        expression = expression.value
    if isinstance(expression, ast.Call):
        return _makes_graph(expression, file)
    if not isinstance(expression, ast.Name | ast.Attribute):
        return False
    name = expression.id if isinstance(expression, ast.Name) else expression.attr
    values, annotations = assigned(name, file)
    made = [value for value in values if not (isinstance(value, ast.Name) and value.id == name)]
    if any(_is_graph(value, file) for value in made if isinstance(value, ast.Call | ast.Await)):
        return True
    if any(TYPES.search(annotation) or annotation == "Graph" for annotation in annotations):
        return True
    if isinstance(expression, ast.Name) and (home := _home(imports(file).get(name, ""))):
        return home[0] != file and _is_graph(ast.Name(home[1]), home[0])
    known = [value for value in made if not isinstance(value, ast.Name | ast.Attribute)]
    typed = [annotation for annotation in annotations if annotation not in {"Any", "object"}]
    return not known and not typed and bool(CALLED_SO.fullmatch(name))


def _makes_graph(call: ast.Call, file: Path) -> bool:
    """Return whether a call returns a compiled graph."""
    name = dotted(call.func, file)
    if isinstance(call.func, ast.Attribute):
        match call.func.attr:
            case "compile":
                return name not in {"re.compile", "regex.compile"} and not _is_no_thread(call)
            case "with_config" | "copy" | "with_types":
                return _is_graph(call.func.value, file)
    if MAKERS.search(name):
        return True
    home = _home(name) or (file, name)
    return any(_returns_graph(function, home[0]) for function in _functions(home[0]) if function.name == home[1])


def _is_no_thread(call: ast.Call) -> bool:
    """Return whether a graph is compiled with `checkpointer=False`: it keeps nothing, so it has no thread."""
    checkpointer = argument(call, "checkpointer", 0)
    return isinstance(checkpointer, ast.Constant) and checkpointer.value is False


def _returns_graph(function: ast.FunctionDef | ast.AsyncFunctionDef, file: Path) -> bool:
    if function.returns is not None and TYPES.search(ast.unparse(function.returns)):
        return True
    returned = [part.value for part in ast.walk(function) if isinstance(part, ast.Return)]
    return any(isinstance(value, ast.Call) and _compiles(value, file) for value in returned)


def _compiles(call: ast.Call, file: Path) -> bool:
    if isinstance(call.func, ast.Attribute) and call.func.attr == "compile":
        return _makes_graph(call, file)
    return bool(MAKERS.search(dotted(call.func, file)))


@cache
def _functions(file: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [part for part in ast.walk(source.tree(file)) if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]


def _home(name: str) -> tuple[Path, str] | None:
    """Return the file of this package that a dotted name is from, and the name there."""
    if not name.startswith(OURS):
        return None
    module, _, last = name[1:].rpartition(".")
    path = source.PACKAGE.joinpath(*filter(None, module.split(".")))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            again = imports(file).get(last, "")  # a room's table of contents
            return _home(again) or (file, last)
    return None


def _spans_of_nodes() -> dict[Path, list[tuple[int, int]]]:
    """Return the lines of what nodes are, and of what they call."""
    found: dict[Path, list[tuple[int, int]]] = {}
    for node in source.nodes():
        for function in source.called_by(node.code):
            first, last = function.line + 1, function.line + getattr(function.tree, "end_lineno", 1)
            found.setdefault(function.file, []).append((first, last))
    return found
