"""Thread ids that the source makes up where it uses them, or that are the same for everybody."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from ..engine.check import Place
from . import nodes as source
from .imported import argument, assigned, dotted

RANDOM = re.compile(
    r"uuid\.uuid[1467]|secrets\..+|random\..+|os\.urandom|time\.(time|time_ns|monotonic)|(shortuuid|nanoid|ulid)\..+"
    r"|datetime\.(datetime\.)?(now|utcnow|today)"
)
PARAMETER = re.compile(r"thread(_?id)?", re.IGNORECASE)
SAME = frozenset({"str", "ThreadId", "thread_id"})  # calls that return the id they are given
DEFAULTS = frozenset({"Field", "Query", "Header", "Body", "Form", "Cookie"})


def bad_ids(file: Path) -> Iterator[tuple[str, Place]]:
    """Yield what is wrong with an id, and where it is given."""
    for value, place in _given(file):
        for id_ in _alternatives(value, file):
            text = ast.unparse(id_)
            if isinstance(id_, ast.Constant):
                if isinstance(id_.value, str) and id_.value:
                    yield f"the thread id {text} is the same for everybody: they share one conversation", place
            elif _is_random(id_, file):
                yield f"the thread id {text} is made up at the call: nothing leads back to it", place


def _alternatives(value: ast.expr, file: Path, depth: int = 3) -> Iterator[ast.expr]:
    """Yield what an expression may be: both sides of an `or`, the default of a `get`, what a name was assigned."""
    match value:
        case ast.BoolOp(values=values):
            found = values
        case ast.IfExp(body=body, orelse=orelse):
            found = [body, orelse]
        case ast.Call(func=ast.Attribute(attr="get" | "getenv" | "pop" | "setdefault"), args=[_, default]):
            found = [default]
        case ast.Call(func=ast.Name(id=name), args=[inner]) if name in SAME:
            found = [inner]
        case ast.Call(func=ast.Name(id=name)) if name in DEFAULTS:
            found = [one for one in (argument(value, "default", 0), argument(value, "default_factory")) if one]
        case ast.Name(id=name) if depth:
            found = assigned(name, file)[0]
        case _:
            yield value
            return
    for one in found:
        yield from _alternatives(one, file, depth - 1) if depth else ()


def _is_random(value: ast.expr, file: Path) -> bool:
    """Return whether an expression is chance and nothing else: with a job's id in it, it can be traced."""
    names = [part for part in ast.walk(value) if isinstance(part, ast.Name | ast.Attribute)]
    chance = [name for name in names if RANDOM.fullmatch(dotted(name, file))]
    told = {id(part) for name in chance for part in ast.walk(name)}
    for part in ast.walk(value):
        if isinstance(part, ast.Call):
            if isinstance(part.func, ast.Name):
                told.add(id(part.func))
            if any(part.func is name for name in chance):
                told |= {id(inner) for inner in ast.walk(part)}
    return bool(chance) and not any(isinstance(name, ast.Name) and id(name) not in told for name in names)


def _given(file: Path) -> Iterator[tuple[ast.expr, Place]]:
    """Yield what a file gives for a thread id: in a config, to a method of Runs, or as a default."""
    for part in ast.walk(source.tree(file)):
        place = Place(file, getattr(part, "lineno", 1))
        match part:
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "configurable":
                        yield from ((id_, place) for id_ in _thread_of(value))
            case ast.keyword(arg="configurable", value=value):
                yield from ((id_, place) for id_ in _thread_of(value))
            case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value="thread_id"))], value=value):
                yield value, place
            case ast.Call(func=ast.Attribute()):
                if given := argument(part, "thread"):
                    yield given, place
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from ((value, place) for name, value in _defaults(part.args) if PARAMETER.fullmatch(name))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if PARAMETER.fullmatch(name):
                yield value, place


def _thread_of(configurable: ast.expr) -> Iterator[ast.expr]:
    if isinstance(configurable, ast.Dict):
        for key, value in zip(configurable.keys, configurable.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "thread_id":
                yield value
    elif isinstance(configurable, ast.Call) and (given := argument(configurable, "thread_id")):
        yield given


def _defaults(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    plain = [*arguments.posonlyargs, *arguments.args]
    for parameter, given in [
        *zip(reversed(plain), reversed(arguments.defaults), strict=False),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]:
        if given is not None:
            yield parameter.arg, given
