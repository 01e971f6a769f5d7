"""What a function's names stand for, and which of its calls write to the world outside.

A read is none, nor is a statement that can be executed twice anyway, such as `insert ... on conflict do nothing`.
"""

import ast
import builtins
import inspect
import re
import sys
from typing import Any

from langgraph.func import _TaskFunction
from langgraph.types import interrupt

from ...effects import idempotency_key
from .given_ids import RANDOM
from .nodes import Function

OURS = f"{__package__.rpartition('.readiness.')[0]}."  # what begins the names of this project's modules
SENDS = frozenset({"post", "put", "patch", "delete"})
READS = frozenset({"GET", "HEAD", "OPTIONS"})
HTTP = re.compile(r"(httpx2?|requests|aiohttp|urllib3)\b.*\.(\w+)")
MAIL = re.compile(r"(aio)?smtplib\b.*\.(sendmail|send_message|send)")
CLOUD = re.compile(
    r"(aio)?boto(3|core)\b.*\.(batch_|transact_)?(put|send|publish|delete|create|update|upload|copy|start|invoke|write"
    r"|execute|run|terminate)\w*"
)
PROCESS = re.compile(
    r"subprocess\.(run|call|check_call|check_output|Popen)|(os|posix|nt)\.system|asyncio\..*create_subprocess_\w+"
)
OPEN = re.compile(r"(_?io|builtins|aiofiles(\..*)?)\.open")
CLIENT = re.compile(r"(^|[._])(client|session|http|api)$", re.IGNORECASE)  # what is called so, and is not known
WRITES = frozenset({"write_text", "write_bytes"})
IDEMPOTENT = re.compile(r"idempoten(t|cy)[-_ ]?key", re.IGNORECASE)
HANDS_OVER = frozenset("to_thread run_in_executor run_sync run_in_threadpool submit partial".split())
EXECUTE = frozenset({"execute", "executemany", "executescript"})
INSERT = re.compile(r"\s*(with\b.*\))?\s*insert\s+into\b", re.IGNORECASE | re.DOTALL)
TWICE_IS_ONCE = re.compile(r"\bon\s+conflict\b|\bon\s+duplicate\s+key\b|\bwhere\s+not\s+exists\b", re.IGNORECASE)
COUNTS = re.compile(r"\s*update\b.*\bset\b.*\b(\w+)\s*=\s*(\w+\.)?\1\s*[-+*/|]", re.IGNORECASE | re.DOTALL)
CALLS = re.compile(r"\s*(call|exec)\b", re.IGNORECASE)


Things = dict[str, Any]  # Any: a module, a class also for its instance, a function, or a dotted name for something else


class Scope:
    """The names of a function. `safe` are those with something in them that came from a key, or is a temporary file."""

    def __init__(self, function: Function, safe: frozenset[str]) -> None:
        """Begin with the function's parameters."""
        self._function = function
        self._safe = set(safe)
        self._chance: set[str] = set()  # names with something random in them
        self._things: Things = {}
        if isinstance(function.tree, ast.FunctionDef | ast.AsyncFunctionDef):
            self._parameters(function.tree.args)
        self._has_sql = any(isinstance(part, ast.Call) and self._sql(part) for part in ast.walk(function.tree))

    def effect(self, call: ast.Call) -> str:
        """Return what a call does to the outside, such as `httpx.post`; empty if it is no effect."""
        return _effect(call, dotted(self.thing(call.func)), self._sql(call), has_sql=self._has_sql)

    def effect_handed_over(self, call: ast.Call) -> str:
        """Return what a call has another thread do to the outside, as `asyncio.to_thread(requests.post, url)` has."""
        handed = [at for at, one in enumerate(call.args[:2]) if isinstance(one, ast.Name | ast.Attribute)]
        if getattr(call.func, "attr", getattr(call.func, "id", "")) not in HANDS_OVER:
            return ""
        inner = [ast.Call(call.args[at], call.args[at + 1 :], call.keywords) for at in handed]
        return next(filter(None, map(self.effect, inner)), "")

    def read(self, statement: ast.stmt) -> None:
        """Note what a statement gives names to."""
        match statement:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self.bind(target, value)
            case ast.AnnAssign(target=target, annotation=annotation, value=given):
                self.bind(target, given, annotation)
            case ast.Import(names=modules):
                for module in modules:
                    self._things[module.asname or module.name.partition(".")[0]] = module.name
            case ast.ImportFrom(module=origin, names=parts, level=0):
                for part in parts:
                    self._things[part.asname or part.name] = f"{origin}.{part.name}"

    def bind(self, target: ast.expr, value: ast.expr | None, annotation: ast.expr | None = None) -> None:
        """Give a name to a value."""
        safe = value is not None and self.is_safe(value) and not self._is_effect(value)
        if isinstance(target, ast.Name):
            said = _a_class(self.thing(annotation)) if annotation else None
            self._things[target.id] = said or (self.thing(value) if value else None)
            (self._safe.add if safe else self._safe.discard)(target.id)
            (self._chance.add if value and self._is_chance(value) else self._chance.discard)(target.id)
        elif safe:  # of a tuple each name; of headers["Idempotency-Key"] the headers
            self._safe |= {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}

    def _is_effect(self, value: ast.expr) -> bool:
        value = value.value if isinstance(value, ast.Await) else value
        return isinstance(value, ast.Call) and bool(self.effect(value))

    def is_safe(self, value: ast.AST) -> bool:
        """Return whether something of a key is in an expression, or of a temporary file.

        What is passed as an idempotency key is one, too, such as an order's number, unless it is another one each time.
        """
        for part in ast.walk(value):
            names = [part.arg] if isinstance(part, ast.keyword) else part.keys if isinstance(part, ast.Dict) else []
            if any(IDEMPOTENT.search(_text(name)) for name in names) and not self._is_chance(part):
                return True
            if isinstance(part, ast.Name) and part.id in self._safe:
                return True
            if isinstance(part, ast.Call):
                called = self.thing(part.func)
                if called is idempotency_key or dotted(called).startswith("tempfile."):
                    return True
        return False

    def _is_chance(self, value: ast.AST) -> bool:
        for part in ast.walk(value):
            if isinstance(part, ast.Name) and part.id in self._chance:
                return True
            if isinstance(part, ast.Call) and RANDOM.fullmatch(dotted(self.thing(part.func))):
                return True
        return False

    def _parameters(self, arguments: ast.arguments) -> None:
        for parameter in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            kind = self.thing(parameter.annotation) if parameter.annotation else None
            self._things[parameter.arg] = _a_class(kind)
        owner, _, _ = getattr(self._function.code, "__qualname__", "").rpartition(".")
        kind = sys.modules.get(getattr(self._function.code, "__module__", ""))
        for part in filter(None, owner.split(".")):
            kind = getattr(kind, part, None)
        if owner:
            self._things["self"] = _a_class(kind)

    def _sql(self, call: ast.Call) -> str | None:
        """Return the text of the statement that is executed, if it is known."""
        first = call.args[0] if call.args and getattr(call.func, "attr", "") in EXECUTE else None
        if isinstance(first, ast.Call) and first.args:  # sqlalchemy.text(...)
            first = first.args[0]
        if isinstance(first, ast.JoinedStr):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in first.values)
        if isinstance(first, ast.Name):
            for part in ast.walk(self._function.tree):
                if isinstance(part, ast.Assign) and any(ast.unparse(one) == first.id for one in part.targets):
                    first = part.value
                    break
        text = first.value if isinstance(first, ast.Constant) else self._function.value(first) if first else None
        return text if isinstance(text, str) else None

    def thing(self, name: ast.expr) -> Any:  # Any: see Things
        """Return what an expression stands for; None if that is not known."""
        found: Any = None  # Any: see Things
        match name:
            case ast.Await(value=value):
                found = self.thing(value)
            case ast.BinOp(left=left, op=ast.BitOr()):  # X | None
                found = self.thing(left)
            case ast.Name(id=id_) if id_ in self._things:
                found = self._things[id_]
            case ast.Name(id=id_):
                found = self._function.value(name)
                found = getattr(builtins, id_, None) if found is None else found
                found = found if found is None or _is_named(found) else type(found)
            case ast.Attribute(value=value, attr=attr):
                found = _attribute(self.thing(value), attr)
            case ast.Call(func=func, args=args):
                called = self.thing(func)
                if args and dotted(called) in {"contextlib.closing", "contextlib.aclosing"}:
                    found = self.thing(args[0])
                elif inspect.isfunction(called):
                    found = _a_class(_annotations(called).get("return"))
                else:
                    found = called if inspect.isclass(called) or isinstance(called, str) else None
        return found


def _effect(call: ast.Call, name: str, sql: str | None, *, has_sql: bool) -> str:
    """Return what a call does to the outside; `name` is the dotted name of what is called, empty if not known."""
    shown = name or ast.unparse(call.func)
    receiver, _, last = shown.rpartition(".")
    if sql is not None:
        writes = (INSERT.match(sql) and not TWICE_IS_ONCE.search(sql)) or COUNTS.match(sql) or CALLS.match(sql)
        return f"{shown}({' '.join(sql.split())[:40]!r})" if writes else ""
    if HTTP.fullmatch(name):
        is_effect = last in SENDS or _sends(call, last)
    elif last == "open" and (not name or OPEN.fullmatch(name) or name.startswith("pathlib.")):
        is_effect = _opens_to_write(call, name)
    elif last == "commit":
        is_effect = bool(receiver) and not has_sql
    elif name:
        is_effect = any(pattern.fullmatch(name) for pattern in (MAIL, CLOUD, PROCESS)) or last in WRITES
    else:
        is_effect = (
            last in WRITES or (bool(receiver) and last == "post") or (last in SENDS and bool(CLIENT.search(receiver)))
        )
    return shown if is_effect else ""


def _sends(call: ast.Call, last: str) -> bool:
    """Return whether `request("POST", ...)` is something else than a read."""
    if last not in {"request", "stream"} or not call.args:
        return False
    method = call.args[0]
    return isinstance(method, ast.Constant) and str(method.value).upper() not in READS


def _opens_to_write(call: ast.Call, name: str) -> bool:
    """Return whether a file is opened to be written. `open` of something that is not known takes the mode first."""
    position = 1 if OPEN.fullmatch(name) else 0
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[position : position + 1]
    mode = given[0].value if given and isinstance(given[0], ast.Constant) else ""
    return isinstance(mode, str) and re.fullmatch(r"[rwaxbt+]{1,4}", mode) is not None and bool(set(mode) & set("wax+"))


def _text(name: object) -> str:
    return str(name.value if isinstance(name, ast.Constant) else name)


def _attribute(owner: Any, name: str) -> Any:  # Any: see Things
    """Return what `owner.name` stands for."""
    if owner is None:
        return None
    found = None if isinstance(owner, str) else getattr(owner, name, None)
    if inspect.ismodule(found) or inspect.isclass(found) or _is_ours(found):
        return found
    if inspect.isclass(owner) and owner.__module__.startswith(OURS):
        return _a_class(_annotations(owner).get(name))
    return f"{dotted(owner)}.{name}"


def _annotations(thing: Any) -> dict[str, Any]:  # Any: what annotations are
    try:
        return inspect.get_annotations(thing, eval_str=True)
    except (NameError, AttributeError, SyntaxError, TypeError):  # of names that only a type checker imports
        return {}


def _a_class(thing: Any) -> Any:  # Any: see Things
    return thing if inspect.isclass(thing) else None


def _is_named(thing: Any) -> bool:  # Any: see Things
    """Return whether a thing has a name of its own, unlike an instance."""
    kinds = inspect.ismodule, inspect.isclass, inspect.isroutine
    return isinstance(thing, _TaskFunction) or any(is_one(thing) for is_one in kinds)


def _is_ours(thing: Any) -> bool:  # Any: see Things
    if thing is interrupt or isinstance(thing, _TaskFunction):
        return True
    return inspect.isfunction(thing) and thing.__module__.startswith(OURS)


def dotted(thing: Any) -> str:  # Any: see Things
    """Return the dotted name of a thing; empty if it has none."""
    if isinstance(thing, str):
        return thing
    if inspect.ismodule(thing):
        return thing.__name__
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    return f"{module}.{name}" if module and name else ""
