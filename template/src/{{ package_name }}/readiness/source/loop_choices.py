"""What the code that chooses an edge can choose, and which keys of the state it asks before it does."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .nodes import Function, function

Keys = frozenset[str]
Names = Mapping[str, ast.expr]  # what the names of a function stand for

NONE: Keys = frozenset()
MEASURES = {"len", "sum", "int", "min", "max"}
EMPTY = "?"  # behind a key of which only is asked whether it is empty


@dataclass(frozen=True)
class Choice:
    """A way out of a function: the target, None if that is not known, and what has been asked on the way."""

    target: object
    asked: Keys


def choices(code: Function) -> list[Choice]:
    """Return the ways out of a router, or of a node that returns a Command."""
    if isinstance(code.tree, ast.FunctionDef | ast.AsyncFunctionDef):
        return list(_of_block(code.tree.body, NONE, code, names(code.tree)))
    lambdas = [part for part in ast.walk(code.tree) if isinstance(part, ast.Lambda)]
    return [choice for part in lambdas for choice in _of_value(part.body, NONE, code, {})]


def stops(code: Function) -> Keys:
    """Return the keys that a function asks before it leaves early."""
    tests = [part.test for part in ast.walk(code.tree) if isinstance(part, ast.If) and _may_leave(part)]
    return _all(tests, code, names(code.tree))


def names(tree: ast.AST) -> dict[str, ast.expr]:
    """Return what the names stand for that are assigned exactly once."""
    given: dict[str, list[ast.expr]] = {}
    for part in ast.walk(tree):
        match part:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.NamedExpr(target=ast.Name(id=name), value=value)
            ):
                given.setdefault(name, []).append(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                given.setdefault(name, []).append(value)
            case ast.AugAssign(target=ast.Name(id=name), value=value):
                given.setdefault(name, []).extend([value, value])
    return {name: values[0] for name, values in given.items() if len(values) == 1}


def read(part: ast.AST, known: Names | None = None) -> str:
    """Return the key that is read of a state: `state["key"]`, `state.get("key")`, `state.key`; empty if none is."""
    match part:
        case ast.Subscript(value=ast.Name(), slice=ast.Constant(value=str() as key)):
            return key
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str() as key), *_]):
            return key
        case ast.Attribute(value=ast.Name(), attr=key):
            return key
        case ast.Name(id=name) if known and name in known:
            return read(known[name])
        case ast.BoolOp(op=ast.Or(), values=[first, *_]):  # state.get("key") or 0
            return read(first, known)
    return ""


def measured(test: ast.AST, code: Function, known: Names, *, amount: bool = False) -> Keys:
    """Return the keys of the state whose amount a condition asks for: compared, counted, or empty."""
    found = NONE
    match test:
        case ast.Compare(left=left, comparators=others):
            if not any(map(_is_word, [left, *others])):
                found = _all([left, *others], code, known, amount=True)
        case _ if key := read(test):
            found = frozenset({key if amount else key + EMPTY})
        case ast.BoolOp(values=parts):
            found = _all(parts, code, known, amount=amount)
        case ast.BinOp(left=left, right=right):
            found = _all([left, right], code, known, amount=amount)
        case ast.UnaryOp(operand=part) | ast.NamedExpr(value=part):
            found = measured(part, code, known, amount=amount)
        case ast.Name(id=name) if name in known:
            rest = {other: value for other, value in known.items() if other != name}
            found = measured(known[name], code, rest, amount=amount)
        case ast.Call(func=ast.Name(id=name)) if name in MEASURES:
            found = frozenset(key if amount else key + EMPTY for part in ast.walk(test) if (key := read(part, known)))
        case ast.Call(func=called) if callable(value := code.value(called)) and (helper := function(value)):
            compared = [part for part in ast.walk(helper.tree) if isinstance(part, ast.Compare)]
            found = _all(compared, helper, names(helper.tree))
    return found


def _all(parts: Iterable[ast.AST], code: Function, known: Names, *, amount: bool = False) -> Keys:
    return frozenset(key for part in parts for key in measured(part, code, known, amount=amount))


def _is_word(part: ast.AST) -> bool:
    """Tell whether a side of a comparison is a word, and not an amount."""
    return isinstance(part, ast.Constant) and isinstance(part.value, str | bool | None)


def _may_leave(part: ast.If) -> bool:
    return any(isinstance(inner, ast.Return | ast.Raise) for each in part.body for inner in ast.walk(each))


def _leaves(block: list[ast.stmt]) -> bool:
    return isinstance(block[-1], ast.Return | ast.Raise)


def _of_block(block: list[ast.stmt], asked: Keys, code: Function, known: Names) -> Iterator[Choice]:
    """Yield what a block returns. What stands behind an `if` that leaves the function was asked, too."""
    for statement in block:
        match statement:
            case ast.Return(value=value):
                yield from _of_value(value or ast.Constant(None), asked, code, known)
            case ast.If(test=test, body=body, orelse=orelse):
                keys = asked | measured(test, code, known)
                yield from _of_block(body, keys, code, known)
                yield from _of_block(orelse, keys, code, known)
                asked = keys if _leaves(body) else asked
            case ast.Match(subject=subject, cases=cases):
                for case in cases:
                    named = {case.pattern.name: subject} if isinstance(case.pattern, ast.MatchAs) else {}
                    guard = case.guard or ast.Constant(None)
                    keys = asked | measured(guard, code, {**known, **{name: of for name, of in named.items() if name}})
                    yield from _of_block(case.body, keys, code, known)
                    asked = keys if _leaves(case.body) else asked
            case _:
                for name in ("body", "orelse", "finalbody"):
                    yield from _of_block(getattr(statement, name, []), asked, code, known)
                for handler in getattr(statement, "handlers", []):
                    yield from _of_block(handler.body, asked, code, known)


def _of_value(value: ast.expr, asked: Keys, code: Function, known: Names) -> Iterator[Choice]:
    """Yield the targets that an expression names: a constant, a Send, a list of them, the goto of a Command."""
    known_value: Any = code.value(value)  # Any: whatever a name stands for
    match value:
        case ast.IfExp(test=test, body=body, orelse=orelse):
            keys = asked | measured(test, code, known)
            yield from _of_value(body, keys, code, known)
            yield from _of_value(orelse, keys, code, known)
        case ast.Constant(value=target):
            yield Choice(target, asked)
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            for part in parts:
                yield from _of_value(part, asked, code, known)
        case ast.ListComp(elt=part) | ast.GeneratorExp(elt=part):
            yield from _of_value(part, asked, code, known)
        case ast.Call(func=ast.Name(id="Send"), args=[target, *_]):
            yield from _of_value(target, asked, code, known)
        case ast.Call(keywords=words) if gotos := [word.value for word in words if word.arg == "goto"]:
            yield from _of_value(gotos[0], asked, code, known)
        case ast.Name(id=name) if name in known:
            yield from _of_value(known[name], asked, code, {other: known[other] for other in known if other != name})
        case _ if isinstance(known_value, str):
            yield Choice(str(known_value), asked)
        case ast.Dict():  # what a node writes: its edges say where it goes on
            pass
        case ast.Name(id=name):  # assigned more than once: one of the conditions decides
            tests = (part.test for part in ast.walk(code.tree) if isinstance(part, ast.If | ast.IfExp))
            yield Choice(None, asked | _all(tests, code, known))
        case _:
            yield Choice(None, asked | measured(value, code, known))
