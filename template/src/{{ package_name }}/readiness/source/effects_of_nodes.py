"""What a node does to the world outside, as far as its text tells, and which of it may happen twice.

The node's code is followed as it would be executed, branch by branch, into the project's functions that it calls. What
is carried along are the effects that may have happened so far: an `interrupt()` that comes after one, on some path,
executes it again when the answer arrives. An effect is safe if something that came from `idempotency_key(...)` goes
into the call, or into the function that makes it; if it is made in a `@task`; or in a temporary file.
"""

import ast
import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field

from langgraph.types import interrupt

from ..engine.check import Place
from . import nodes as source
from .nodes import Code, Function
from .outside import Scope

_Key = tuple[Code, frozenset[str], frozenset["Effect"]]


@dataclass(frozen=True)
class Effect:
    """A write to the outside without a key."""

    what: str  # such as httpx.AsyncClient.post
    place: Place


@dataclass
class Found:
    """What a node does."""

    before: set[Effect] = field(default_factory=set)  # those that an interrupt may follow
    seen: list[Effect] = field(default_factory=list)  # each time that one is passed
    calls: set[tuple[Code, int, int]] = field(default_factory=set)
    known: dict[_Key, tuple[frozenset[Effect], list[Effect]]] = field(
        default_factory=dict
    )  # functions that were followed


def effects_of(code: Iterable[Code]) -> Found:
    """Return what a node does whose code this is: its function, or its tools."""
    found = Found()
    for one in code:
        if function := source.function(one):
            _Walk(function, frozenset(), found, ()).body(frozenset())
    return found


class _Walk:
    """A walk through one function: `done` are the effects that may have happened before what comes next."""

    def __init__(self, function: Function, safe: frozenset[str], found: Found, callers: tuple[Code, ...]) -> None:
        self._function = function
        self._scope = Scope(function, safe)
        self._keyed = bool(safe)  # something of a key comes in: what the function does with it is its own affair
        self._found = found
        self._callers = (*callers, function.code)
        self._own: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}  # functions that are written inside this one
        self._running: list[str] = []  # of those
        self._ends: frozenset[Effect] = frozenset()  # what has happened where the function returns
        self._left: frozenset[Effect] = frozenset()  # and where its loop goes on, or is left

    def body(self, done: frozenset[Effect]) -> frozenset[Effect]:
        """Follow the function, and return what may have happened when it returns."""
        tree = self._function.tree
        if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef):
            last = self._block(tree.body, done)
        else:  # a lambda
            last = self._value(tree, done)
        return frozenset(self._ends | (last or frozenset()))

    def _block(self, block: list[ast.stmt], done: frozenset[Effect] | None) -> frozenset[Effect] | None:
        """Follow statements; None if what comes behind them is not reached."""
        for statement in block:
            if done is None:
                return None
            done = self._statement(statement, done)
        return done

    def _statement(self, statement: ast.stmt, done: frozenset[Effect]) -> frozenset[Effect] | None:
        end: frozenset[Effect] | None = None
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self._own[name] = statement
                end = done
            case ast.Return() | ast.Raise():
                self._ends |= self._values(statement, done)
            case ast.Break() | ast.Continue():
                self._left |= done
            case ast.If(test=test, body=body, orelse=orelse):
                done = self._value(test, done)
                end = _either(self._block(body, done), self._block(orelse, done))
            case ast.Match(subject=subject, cases=cases):
                done = self._value(subject, done)
                end = _either(done, *(self._block(case.body, done) for case in cases))
            case ast.For() | ast.AsyncFor() | ast.While():
                end = self._loop(statement, done)
            case ast.Try():
                end = self._try(statement, done)
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                for item in items:
                    done = self._value(item.context_expr, done)
                    if item.optional_vars:
                        self._scope.bind(item.optional_vars, item.context_expr)
                end = self._block(body, done)
            case _:
                end = self._values(statement, done)
                self._scope.read(statement)
        return end

    def _loop(self, loop: ast.For | ast.AsyncFor | ast.While, done: frozenset[Effect]) -> frozenset[Effect] | None:
        done = self._value(loop.test if isinstance(loop, ast.While) else loop.iter, done)
        if not isinstance(loop, ast.While):
            self._scope.bind(loop.target, loop.iter)
        outer, self._left = self._left, frozenset()
        for _ in range(2):  # what the first round did has happened when the second one asks
            done |= self._block(loop.body, done) or frozenset()
            done |= self._left
        self._left = outer
        return _either(done, self._block(loop.orelse, done))

    def _try(self, statement: ast.Try, done: frozenset[Effect]) -> frozenset[Effect] | None:
        passed = len(self._found.seen)
        end = self._block([*statement.body, *statement.orelse], done)
        anywhere = done | frozenset(self._found.seen[passed:])  # it may have failed behind any of them
        handled = [self._block(handler.body, anywhere) for handler in statement.handlers]
        return self._block(statement.finalbody, _either(end, *handled))

    def _values(self, node: ast.AST, done: frozenset[Effect]) -> frozenset[Effect]:
        """Follow the expressions below a node, in order."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                done = self._value(child, done)
            elif isinstance(child, ast.keyword | ast.comprehension):
                done = self._values(child, done)
        return done

    def _value(self, value: ast.AST, done: frozenset[Effect]) -> frozenset[Effect]:
        match value:
            case ast.IfExp(test=test, body=body, orelse=orelse):
                done = self._value(test, done)
                return self._value(body, done) | self._value(orelse, done)
            case ast.NamedExpr(target=target, value=given):
                done = self._value(given, done)
                self._scope.bind(target, given)
                return done
            case ast.Call():
                return self._call(value, self._values(value, done))
        return self._values(value, done)

    def _call(self, call: ast.Call, done: frozenset[Effect]) -> frozenset[Effect]:
        self._found.calls.add((self._function.code, call.lineno, call.col_offset))
        called = self._scope.thing(call.func)
        if called is interrupt:
            self._found.before |= done
            return done
        for position, one in enumerate([call.func, *call.args]):  # asyncio.to_thread(publish, key), too
            done = self._into(one, call.args[position:], call.keywords, done)
        what = self._scope.effect(call) or self._scope.effect_handed_over(call)
        if what and not self._keyed and not self._scope.is_safe(call):
            passed = Effect(what, self._function.place(call))
            self._found.seen.append(passed)
            return done | {passed}
        return done

    def _into(
        self, name: ast.expr, given: list[ast.expr], more: list[ast.keyword], done: frozenset[Effect]
    ) -> frozenset[Effect]:
        """Follow a function of the project that is called, or handed to what calls it."""
        if isinstance(name, ast.Name) and (own := self._own.get(name.id)):
            if name.id in self._running:
                return done
            self._running.append(name.id)
            after = self._block(own.body, done)
            self._running.pop()
            return after or done
        called = self._scope.thing(name)
        function = source.function(called) if inspect.isfunction(called) or inspect.ismethod(called) else None
        if not function or not isinstance(function.tree, ast.FunctionDef | ast.AsyncFunctionDef):
            return done
        if not function.file.is_relative_to(source.PACKAGE) or function.code in self._callers:
            return done
        arguments = function.tree.args
        names = [one.arg for one in [*arguments.posonlyargs, *arguments.args]]
        names = names[1:] if names[:1] in (["self"], ["cls"]) else names
        safe = {parameter for parameter, value in zip(names, given, strict=False) if self._scope.is_safe(value)}
        safe |= {keyword.arg or "**" for keyword in more if self._scope.is_safe(keyword.value)}
        key = (function.code, frozenset(safe), done)
        if key not in self._found.known:
            passed = len(self._found.seen)
            after = _Walk(function, key[1], self._found, self._callers).body(done)
            self._found.known[key] = (after, self._found.seen[passed:])
            return after
        after, again = self._found.known[key]
        self._found.seen.extend(again)
        return after


def _either(*ends: frozenset[Effect] | None) -> frozenset[Effect] | None:
    """Return what may have happened after one of several ways; None if all have left."""
    reached = [end for end in ends if end is not None]
    return frozenset().union(*reached) if reached else None
