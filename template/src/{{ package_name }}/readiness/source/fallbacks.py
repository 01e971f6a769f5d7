"""Checkpointers that production must not get: those in memory, and what code goes on with when opening one fails."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..engine.check import Place
from .nodes import PACKAGE, tree

IN_MEMORY = frozenset({"InMemorySaver", "MemorySaver"})
TRIALS = frozenset({"runs/compatibility.py"})
"""Files whose saver in memory is for the trial of a migration, thrown away before anything is stored."""

OPENERS = frozenset(
    {"open_checkpointer", "open_saver", "open_runs", "from_conn_string", "AsyncConnectionPool", "ConnectionPool"}
)
LOGGERS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log", "print", "echo"})

Found = Iterator[tuple[str, Place]]


def in_memory(file: Path) -> Found:
    """Yield where a file makes a checkpointer in memory; to recognise one, as with isinstance, is innocent."""
    if file.relative_to(PACKAGE).as_posix() in TRIALS:
        return
    names = _imported(tree(file), IN_MEMORY)
    for part in ast.walk(tree(file)):
        if isinstance(part, ast.Call) and _opens([ast.Expr(part)]) and _in_memory_file(part):
            yield "opens a SQLite database in memory, which is lost with the process", Place(file, part.lineno)
    recognised = {
        id(inner)
        for part in ast.walk(tree(file))
        if isinstance(part, ast.Call) and _name(part.func) in {"isinstance", "issubclass"}
        for argument in part.args[1:]
        for inner in ast.walk(argument)
    }
    for part in ast.walk(tree(file)):
        used = part.id if isinstance(part, ast.Name) else part.attr if isinstance(part, ast.Attribute) else ""
        known = names.get(used, used if isinstance(part, ast.Attribute) and used in IN_MEMORY else "")
        if known and id(part) not in recognised:
            yield f"uses {known}, whose threads are lost with the process", Place(file, getattr(part, "lineno", 1))


def fallbacks(file: Path) -> Found:
    """Yield where a file goes on without the checkpointer, or with another one, when opening it has failed."""
    for scope in ast.walk(tree(file)):
        if isinstance(scope, ast.With | ast.AsyncWith):
            suppressed = any(_name(getattr(item.context_expr, "func", None)) == "suppress" for item in scope.items)
            if suppressed and _opens(scope.body):
                yield "suppresses the error of opening the checkpointer, and goes on", Place(file, scope.lineno)
        if isinstance(scope, ast.Try | ast.TryStar) and _opens(scope.body):
            for handler in scope.handlers:
                if goes_on := _goes_on(handler, scope.body):
                    yield f"when opening the checkpointer fails, {goes_on}", Place(file, handler.lineno)


def _goes_on(handler: ast.ExceptHandler, body: list[ast.stmt]) -> str:
    """Return what a handler goes on with; nothing if it raises, or answers with the failure."""
    parts = list(_walk(handler.body))
    calls = [part for part in parts if isinstance(part, ast.Call)]
    opened = {ast.dump(target) for target in _opened(body)}
    given = {ast.dump(target) for part in parts if isinstance(part, ast.Assign) for target in part.targets}
    nothing = [part for part in parts if isinstance(part, ast.Return | ast.Yield | ast.Assign) and _is_none(part.value)]
    for goes_on, what in (
        (any(_is_saver(call) for call in calls), "goes on with another one"),
        (any(_name(call.func) == "compile" and _without_checkpointer(call) for call in calls), "compiles without one"),
        (any(isinstance(part, ast.Yield) for part in nothing), "yields None"),
        (opened and any(isinstance(part, ast.Return) for part in nothing), "returns None"),
        (opened & given and any(isinstance(part, ast.Assign) for part in nothing), "goes on with None"),
        (opened and all(_says_only(step) for step in handler.body), "goes on"),
    ):
        if goes_on:
            return what
    return ""


def _opens(body: Iterable[ast.stmt]) -> bool:
    return any(isinstance(part, ast.Call) and (_name(part.func) in OPENERS or _is_saver(part)) for part in _walk(body))


def _is_saver(call: ast.Call) -> bool:
    """Tell whether a call makes a checkpointer of whatever library: their classes are named so."""
    func = (
        call.func.value if isinstance(call.func, ast.Attribute) and call.func.attr == "from_conn_string" else call.func
    )
    return _name(func).endswith("Saver")


def _opened(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield what an opener's result is given to: names, attributes, and the return of the function."""
    for part in _walk(body):
        if isinstance(part, ast.Assign | ast.AnnAssign | ast.Return) and part.value and _opens([ast.Expr(part.value)]):
            yield from part.targets if isinstance(part, ast.Assign) else [getattr(part, "target", part)]


def _walk(body: Iterable[ast.stmt]) -> Iterator[ast.AST]:
    """Walk through statements, but not into the functions that they define."""
    left: list[ast.AST] = list(body)
    while left:
        part = left.pop()
        yield part
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            left += ast.iter_child_nodes(part)


def _says_only(step: ast.stmt) -> bool:
    """Tell whether a statement does nothing but to log."""
    if isinstance(step, ast.Pass):
        return True
    return isinstance(step, ast.Expr) and (
        isinstance(step.value, ast.Constant) or (isinstance(step.value, ast.Call) and _name(step.value.func) in LOGGERS)
    )


def _without_checkpointer(call: ast.Call) -> bool:
    given = [keyword for keyword in call.keywords if keyword.arg in {"checkpointer", None}]
    return not call.args and all(keyword.arg and _is_none(keyword.value) for keyword in given)


def _is_none(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _in_memory_file(call: ast.Call) -> bool:
    texts = [part.value for part in ast.walk(call) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return any(text.endswith(":memory:") for text in texts)


def _imported(module: ast.Module, wanted: frozenset[str]) -> dict[str, str]:
    """Return the names by which a module knows what it imports, and what they stand for."""
    return {
        name.asname or name.name: name.name
        for part in ast.walk(module)
        if isinstance(part, ast.ImportFrom)
        for name in part.names
        if name.name in wanted
    }


def _name(func: ast.expr | None) -> str:
    if isinstance(func, ast.Subscript):
        return _name(func.value)
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
