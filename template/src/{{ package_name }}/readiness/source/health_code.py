"""Code that says whether the program is well though it is not, and code that makes tables where it should not."""

import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from ..engine.check import Place
from .nodes import PACKAGE, tree

HEALTH = re.compile(
    r"(^|[_/-])(health|healthz|healthy|ready|readyz|readiness|live|livez|liveness|alive|probe)([_/-]|$)"
)
READY = re.compile(r"(^|[_/-])(ready|readyz|readiness)([_/-]|$)")
WIDE = frozenset(
    "Exception BaseException Error OperationalError InterfaceError DatabaseError DatabaseUnreachable ProjectError"
    " OSError ConnectionError TimeoutError".split()
)
WELL = frozenset({"ok", "up", "healthy", "connected", "ready", "alive", "pass"})
LOGGERS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log", "print"})
STEPS = frozenset({"cli.py", "maintenance.py"})  # a migration is a command there
STEP = re.compile(r"migrat|set_?up|init|upgrade")  # names of commands that may make tables elsewhere

Function = ast.FunctionDef | ast.AsyncFunctionDef
Found = Iterator[tuple[str, Place]]


def health_functions(file: Path) -> Iterator[tuple[Function, set[str]]]:
    """Yield the functions that tell how the program is, by their name or their route, with the paths of the routes."""
    for part in ast.walk(tree(file)):
        if isinstance(part, Function):
            paths = {path for route in part.decorator_list for path in _paths(route)}
            if HEALTH.search(part.name) or any(HEALTH.search(path) for path in paths):
                yield part, paths


def never_fails(file: Path, function: Function) -> Found:
    """Yield where a function that tells how the program is hides that it is not well."""
    for part in ast.walk(function):
        if isinstance(part, ast.With | ast.AsyncWith):
            calls = [item.context_expr for item in part.items if isinstance(item.context_expr, ast.Call)]
            hidden = [name for call in calls if _name(call.func) == "suppress" for name in map(_name, call.args)]
            if set(hidden) & WIDE and _works(part.body) and not _tells(part.body):
                yield f"{function.name} suppresses {', '.join(hidden)} and then says the same", Place(file, part.lineno)
        if isinstance(part, ast.Try) and _works(part.body):
            for handler in part.handlers:
                names = {_name(name) for name in _each(handler.type)} if handler.type else {"BaseException"}
                silent = all(_says_only(step) for step in handler.body) and not _tells(part.body)
                if names & WIDE and (silent or _says_well(handler)):
                    yield f"{function.name} says the same when the database fails", Place(file, handler.lineno)


def reads_nothing(function: Function, paths: set[str], probed: Collection[str]) -> bool:
    """Tell whether a route that says "ready", by its path or because a readiness probe asks it, looks at nothing."""
    if not any(READY.search(path) or path in probed for path in paths):
        return False
    looks = [part for step in [function.args, *function.body] for part in ast.walk(step)]
    calls = [part for part in looks if isinstance(part, ast.Call) and not _name(part.func).endswith("Response")]
    return not calls and not any(isinstance(part, ast.Await | ast.AsyncWith | ast.With) for part in looks)


def set_up(file: Path) -> Found:
    """Yield where code that is no step of a deployment makes tables."""
    if file.relative_to(PACKAGE).as_posix() in STEPS:
        return
    module = tree(file)
    imports = [part for part in ast.walk(module) if isinstance(part, ast.ImportFrom)]
    savers = any((part.module or "").startswith(("langgraph.checkpoint", "langgraph.store")) for part in imports)
    ours = [part for part in imports if re.search(r"(^|\.)persistence(\.|$)", part.module or "")]
    migrate = {name.asname or name.name for part in ours for name in part.names if name.name == "migrate"}
    steps = {
        id(inner)
        for part in ast.walk(module)
        if isinstance(part, Function) and STEP.search(part.name)
        if any(_name(getattr(route, "func", route)) == "command" for route in part.decorator_list)
        for inner in ast.walk(part)
    }
    for part in ast.walk(module):
        if not isinstance(part, ast.Call) or id(part) in steps:
            continue
        owner = ast.unparse(part.func.value) if isinstance(part.func, ast.Attribute) else ""
        called = _name(part.func)
        if (
            (called == "setup" and owner and (savers or re.search(r"saver|checkpoint|store", owner, re.IGNORECASE)))
            or (isinstance(part.func, ast.Name) and called in migrate)
            or (called == "migrate" and owner.rpartition(".")[2] == "persistence")
            or (called == "upgrade" and owner in {"command", "alembic.command"})
        ):
            yield f"calls {ast.unparse(part.func)}() on the way of a start or a request", Place(file, part.lineno)


def _paths(route: ast.expr) -> Iterator[str]:
    for given in route.args if isinstance(route, ast.Call) else []:
        if isinstance(given, ast.Constant) and isinstance(given.value, str) and given.value.startswith("/"):
            yield given.value


def _works(body: list[ast.stmt]) -> bool:
    return any(isinstance(part, ast.Await | ast.Call) for step in body for part in ast.walk(step))


def _tells(body: list[ast.stmt]) -> bool:
    """Tell whether a body notes its success: what stands after it then differs from what it is without."""
    parts = [part for step in body for part in ast.walk(step)]
    noted = [part for part in parts if isinstance(part, ast.Assign) and isinstance(part.value, ast.Constant | ast.Dict)]
    return bool(noted) or any(isinstance(part, ast.Return) for part in parts)


def _says_only(step: ast.stmt) -> bool:
    if isinstance(step, ast.Expr):
        return not isinstance(step.value, ast.Call) or _name(step.value.func) in LOGGERS
    return isinstance(step, ast.Pass | ast.Continue)


def _says_well(handler: ast.ExceptHandler) -> bool:
    for part in ast.walk(handler):
        if isinstance(part, ast.Return) and part.value:
            said = [inner.value for inner in ast.walk(part.value) if isinstance(inner, ast.Constant)]
            bad = any(value is False or (type(value) is int and value >= 400) for value in said)
            if not bad and any(value is True or str(value).lower() in WELL for value in said):
                return True
    return False


def _each(kind: ast.expr) -> list[ast.expr]:
    return kind.elts if isinstance(kind, ast.Tuple) else [kind]


def _name(func: ast.expr | None) -> str:
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
