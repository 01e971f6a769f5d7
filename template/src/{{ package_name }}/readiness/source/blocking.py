"""What the source says of the event loop: calls that block it, and set-up on the way of a request."""

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langgraph.graph.state import CompiledStateGraph

from ..engine.check import Finding, Place
from . import nodes as source
from .nodes import PACKAGE, Code, Function

RULES = "ASYNC2"  # of ruff's ASYNC rules those about calls that block; the others are about style

_VERBS = "get|post|put|patch|delete|head|options|request"
_BLOCKS = re.compile(
    rf"time\.sleep|requests\.api\.\w+|requests\.sessions\.Session\.({_VERBS}|send)"
    rf"|httpx\.(_api\.|_client\.)?(Client\.)?({_VERBS}|stream|send)|urllib\.request\.(urlopen|urlretrieve)"
    r"|subprocess\.(run|call|check_call|check_output|getoutput|getstatusoutput)|(posix|nt)\.system"
    r"|_?sqlite3\.connect|psy\w+\.(connection\.Connection\.)?connect|socket\.create_connection"
)
_OPENS = re.compile(
    r"(Connection|Thread\w*)Pool|create_pool|create_(async_)?engine|from_conn_string|open_(runs|checkpointer)"
)
_TABLES = re.compile(r"saver|store|checkpoint", re.IGNORECASE)
_GRAPH = re.compile(r"graph|workflow|builder", re.IGNORECASE)
_REQUEST = re.compile(rf"\.({_VERBS}|websocket|route|api_route|middleware|task|periodic)\b")
_ROOMS = (PACKAGE / "persistence", PACKAGE / "runs" / "opening.py")  # where a process opens what it needs, once


def ruff_findings(files: Sequence[Path]) -> list[Finding]:
    """Return what ruff finds, whatever the project has configured; a `noqa` on the line counts."""
    options = ["--isolated", "--select", RULES, "--output-format", "json", "--exit-zero", "--no-cache"]
    command = [sys.executable, "-m", "ruff", "check", *options, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [
        Finding(f"{found['code']}: {found['message']}", Place(Path(found["filename"]), found["location"]["row"]))
        for found in json.loads(done.stdout)
    ]


def on_the_loop() -> list[tuple[str, Code]]:
    """Return what LangGraph runs on the event loop: the nodes and the routers that are async, each with its name."""
    found = [(f"node {node.path}", node.code) for node in source.nodes() if node.is_async]
    for path, graph in source.graphs():
        for node, routers in graph.branches.items():
            for name, spec in routers.items():
                asynchronous, plain = getattr(spec.path, "afunc", None), getattr(spec.path, "func", None)
                if asynchronous and not plain:
                    found.append((f"the router {name} after {path}{node}", asynchronous))
    return found


def blocking_calls(name: str, code: Code) -> Iterator[Finding]:
    """Yield the blocking calls of what runs on the loop and of the project's functions that it calls itself.

    A function that is handed over, as to `asyncio.to_thread`, is not called on the loop.
    """
    seen: set[Code] = set()
    left = [code]
    while left:
        current = left.pop()
        found = source.function(current)
        if current in seen or found is None or not found.file.is_relative_to(PACKAGE):
            continue
        seen.add(current)
        where = getattr(found.code, "__qualname__", "it")
        for call, awaited in _calls(getattr(found.tree, "body", [])):
            target = _target(found, call.func)
            called = f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', '')}"
            if _BLOCKS.fullmatch(called):
                text = f"{name}: {ast.unparse(call.func)}() in {where} blocks the event loop"
                yield Finding(text, found.place(call))
            elif isinstance(call.func, ast.Attribute) and call.func.attr == "invoke" and not awaited:
                text = f"{name}: {ast.unparse(call.func)}() in {where} blocks the event loop; its async twin is ainvoke"
                yield Finding(text, found.place(call))
            elif inspect.isroutine(inspect.unwrap(target) if callable(target) else target):
                left.append(inspect.unwrap(target))


def set_up_in_nodes(name: str, code: Code) -> Iterator[Finding]:
    """Yield the set-up that a node or a router, or what it calls, does every time that it runs."""
    for found in source.called_by(code):
        if not any(found.file.is_relative_to(room) for room in _ROOMS) and not _cached(found.tree):
            for call in _set_up(found.tree):
                yield Finding(f"{name} sets up on every run: {_shown(call)}", found.place(call))


def set_up_in_handlers(file: Path) -> Iterator[tuple[str, list[Finding]]]:
    """Yield the functions of a file that answer requests or do jobs, each with the set-up that it does every time."""
    functions = {
        part.name: part
        for part in ast.walk(source.tree(file))
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for name, written in functions.items():
        if not any(_REQUEST.search(ast.unparse(decorator)) for decorator in written.decorator_list):
            continue
        reached, left = set[str](), [name]
        while left:
            current = left.pop()
            if current in functions and current not in reached and not _cached(functions[current]):
                reached.add(current)
                left += [part.id for part in ast.walk(functions[current]) if isinstance(part, ast.Name)]
        calls = [call for each in sorted(reached) for call in _set_up(functions[each])]
        yield (
            name,
            [Finding(f"{name} sets up on every call: {_shown(call)}", Place(file, call.lineno)) for call in calls],
        )


def _set_up(tree: ast.AST) -> Iterator[ast.Call]:
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        keywords = {keyword.arg for keyword in call.keywords}
        compiles = called == "compile" and ("checkpointer" in keywords or _GRAPH.search(owner))
        if _OPENS.search(called) or compiles or (called == "setup" and _TABLES.search(owner)):
            yield call


def _shown(call: ast.Call) -> str:
    text = ast.unparse(call.func)
    return f"{text if len(text) < 60 else '...' + text[-40:]}()"


def _cached(tree: ast.AST) -> bool:
    return any("cache" in ast.unparse(decorator) for decorator in getattr(tree, "decorator_list", []))


def _calls(parts: Sequence[ast.AST], parent: ast.AST | None = None) -> Iterator[tuple[ast.Call, bool]]:
    """Yield the calls that are made when the code runs, and whether each is awaited; not those of functions within."""
    for part in parts:
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(part, ast.Call):
            yield part, isinstance(parent, ast.Await)
        yield from _calls(list(ast.iter_child_nodes(part)), part)


def _target(found: Function, called: ast.expr) -> Any:  # Any: whatever is called; None if that is not known
    target = found.value(called)
    if target is not None or not isinstance(called, ast.Attribute):
        return target
    owner = found.value(called.value)
    if isinstance(called.value, ast.Name) and called.value.id == "self":
        owner = getattr(found.code, "__self__", None)
    # A compiled graph is no client: what its methods run is on the loop or in threads as LangGraph decides.
    return None if owner is None or isinstance(owner, CompiledStateGraph) else getattr(owner, called.attr, None)
