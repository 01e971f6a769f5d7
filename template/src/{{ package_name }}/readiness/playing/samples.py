"""Values for the annotations of a state, made by hypothesis: all that a channel may hold, as far as types say it.

Only data is made, never a client or a connection: what is no data is noted, with its place inside the annotation.
"""

import dataclasses
import datetime as dt
import inspect
import io
import logging
import re
import socket
import types
import typing as t
from collections import abc, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pydantic
from annotated_types import BaseMetadata, GroupedMetadata
from hypothesis import reject
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_core.runnables import Runnable
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_TYPES
from langgraph.store.base import BaseStore
from typing_extensions import ReadOnly, is_typeddict

Values = st.SearchStrategy[Any]  # Any: of whatever type

# Some of these are pydantic models, or take their arguments as data does: they must never be made.
HANDLES = (
    *(Runnable, BaseStore, BaseCheckpointSaver, BaseCallbackHandler),
    *(io.IOBase, socket.socket, logging.Logger, types.ModuleType, types.FunctionType),
)
STANDARD = ("datetime", "ipaddress", "uuid", "zoneinfo")  # modules of the standard library that are all data
DATA_METHODS = ("model_dump", "get_secret_value", "dict", "_asdict", "dtype")  # what has one, the serializer tries

_INTEGERS = st.integers(-(2**63), 2**63 - 1)  # msgpack has no longer ones, and no annotation can say so
_TIMES = st.datetimes(timezones=st.just(dt.UTC))  # a naive one is for the check to find, not to make
_PLAIN = st.none() | st.booleans() | _INTEGERS | st.floats() | st.text()
_JSON = st.recursive(_PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
_CALL = {"name": st.text(), "args": st.dictionaries(st.text(), _JSON), "id": st.text(), "type": st.just("tool_call")}
_LEAVES: dict[object, Values] = {
    **dict.fromkeys((None, types.NoneType), st.none()),
    **dict.fromkeys((Any, object), _JSON),
    bool: st.booleans(),
    int: _INTEGERS,
    float: st.floats(),
    str: st.text(),
    bytes: st.binary(),
    Decimal: st.decimals(allow_nan=False),
    pydantic.SecretStr: st.builds(pydantic.SecretStr, st.text()),
    **dict.fromkeys((dt.datetime, pydantic.AwareDatetime, pydantic.FutureDatetime, pydantic.PastDatetime), _TIMES),
    **dict.fromkeys((pydantic.FutureDate, pydantic.PastDate), st.dates()),
    dt.tzinfo: st.just(dt.UTC),
    abc.Hashable: st.text(),
    re.Pattern: st.just(re.compile("a+")),
    Path: st.lists(st.text("abc", min_size=1), min_size=1).map(lambda parts: Path(*parts)),
}


def _lists(*items: Values) -> Values:
    return st.lists(items[0] if items else _JSON)


def _sets(*items: Values) -> Values:
    return st.sets(items[0] if items and items[0] is not _JSON else _PLAIN)


def _mappings(*items: Values) -> Values:
    key, value = items if len(items) > 1 else (st.text(), _JSON)
    return st.dictionaries(st.text() if key is _JSON else key, value)  # JSON is no key


_CONTAINERS: dict[object, Callable[..., Values]] = {
    **dict.fromkeys((list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable), _lists),
    **dict.fromkeys((set, abc.Set, abc.MutableSet), _sets),
    frozenset: lambda *items: _sets(*items).map(frozenset),
    **dict.fromkeys((dict, abc.Mapping, abc.MutableMapping), _mappings),
    defaultdict: lambda *items: _mappings(*items).map(lambda held: defaultdict(None, held)),
    deque: lambda *items: _lists(*items).map(deque),
    tuple: st.tuples,  # one of any length: see _of
}


class Samples:
    """The values of one annotation. Any, of the parameters: a type, or a form of `typing`."""

    def __init__(self, annotation: Any) -> None:
        """Look through the annotation."""
        self.refused: dict[str, Any] = {}  # what no checkpoint can hold, by its place inside the annotation
        self._made: dict[Any, Values] = {}
        self.values = self._of(annotation, "")

    def _of(self, kind: Any, at: str) -> Values:  # noqa: PLR0911 - one for each form of an annotation
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Annotated:
            return self._constrained(arguments[0], kind.__metadata__, at)
        if origin in (t.Required, t.NotRequired, ReadOnly):
            return self._of(arguments[0], at)
        if origin in (t.Union, types.UnionType):
            return st.one_of([self._of(one, at) for one in arguments])
        if origin is t.Literal:
            return st.sampled_from(arguments)
        if isinstance(kind, t.NewType):
            return self._of(kind.__supertype__, at)
        if isinstance(kind, t.TypeVar):
            return self._of(kind.__bound__ or Any, at)
        if isinstance(kind, str | t.ForwardRef):  # a name that is only there for a type checker
            return st.nothing()
        plain = origin or kind
        if plain in _LEAVES:
            return _LEAVES[plain]
        if plain in _CONTAINERS:
            items = [self._of(one, f"{at}[]") for one in arguments if one is not ...]
            if plain is tuple and (... in arguments or not arguments):
                return _lists(*items).map(tuple)
            return _CONTAINERS[plain](*items)
        if plain not in self._made:  # once: a class may hold others of its own
            self._made[plain] = st.deferred(lambda: made)
            made = self._class(plain, at)
        return self._made[plain]

    def _constrained(self, kind: Any, metadata: tuple[object, ...], at: str) -> Values:
        """Keep to what is asked of plain values; what is asked of others, their class says when it is made."""
        pattern = next((found for each in metadata if isinstance(found := getattr(each, "pattern", None), str)), None)
        if kind is str and pattern:
            return st.from_regex(pattern)
        asked = [each for each in metadata if isinstance(each, BaseMetadata | GroupedMetadata)]
        if kind not in (int, float, str, bytes, Decimal) or not asked:
            return self._of(kind, at)
        values: Values = st.from_type(Annotated[(kind, *asked)])  # type: ignore[arg-type] # a form made at run time
        return values.filter(lambda value: -(2**63) <= value < 2**63) if kind is int else values

    def _class(self, kind: Any, at: str) -> Values:  # noqa: PLR0911 - one for each kind of class
        if getattr(kind, "__value__", None):  # Python 3.12's `type`
            return self._of(kind.__value__, at)
        if not isinstance(kind, type) or kind is type or issubclass(kind, HANDLES):
            return self._refuse(kind, at)
        if issubclass(kind, BaseMessage) and kind.__module__.startswith("langchain_core."):
            return _messages(kind)
        if issubclass(kind, Enum):
            return st.sampled_from(list(kind))
        if (fields := _fields(kind)) is not None:
            inner = {name: self._of(hint, f"{at}.{name}") for name, hint in fields.items()}
            optional = {name: inner.pop(name) for name in getattr(kind, "__optional_keys__", ()) if name in inner}
            return st.fixed_dictionaries(inner, optional=optional).map(lambda held: _built(kind, held))
        known = (kind.__module__, kind.__name__) in SAFE_MSGPACK_TYPES
        if known and kind.__module__ in STANDARD:
            return st.from_type(kind)
        for base in (str, int, float, bytes, list, dict, set, tuple):
            if issubclass(kind, base):
                return self._of(base, at).map(lambda value: _built(kind, value))
        if derived := [each for each in kind.__subclasses__() if _fields(each) is not None]:
            return st.one_of([self._of(each, at) for each in derived])
        open_ended = inspect.isabstract(kind) or getattr(kind, "_is_protocol", False)
        if open_ended and kind.__module__ not in (
            "collections.abc",
            "typing",
        ):  # theirs: a Callable, an Iterator, an IO
            return st.nothing()
        may_be_data = known or any(hasattr(kind, name) for name in DATA_METHODS)
        return st.nothing() if may_be_data else self._refuse(kind, at)

    def _refuse(self, kind: Any, at: str) -> Values:
        self.refused[at] = kind
        return st.nothing()


def _messages(kind: type[BaseMessage]) -> Values:
    """Messages as models make them: the framework's own classes are not what is looked at."""
    if kind.model_fields["type"].is_required():  # the base of all
        return st.one_of([_messages(one) for one in (HumanMessage, AIMessage, SystemMessage, ToolMessage)])
    if kind is RemoveMessage:
        return st.text().map(lambda id_: RemoveMessage(id=id_))
    given = {name: st.text() for name, field in kind.model_fields.items() if field.is_required() or name == "content"}
    more = {"tool_calls": st.lists(st.fixed_dictionaries(_CALL), max_size=2)} if kind is AIMessage else {}
    return st.builds(kind, **given, **more)


def _fields(kind: Any) -> dict[str, Any] | None:
    """Return what a class is made of, by name; None if it does not say. Any: a class, and annotations."""
    if issubclass(kind, pydantic.BaseModel):
        return {name: field.rebuild_annotation() for name, field in kind.model_fields.items()}
    if not (is_typeddict(kind) or dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
        return None
    try:
        hints = get_type_hints(kind, include_extras=True)
    except NameError:  # as above
        hints = {}
    if dataclasses.is_dataclass(kind):
        return {field.name: hints.get(field.name, Any) for field in dataclasses.fields(kind) if field.init}
    return hints


def _built(kind: Any, held: Any) -> Any:  # Any: what a class is made of, and makes, is up to it
    """Make a value, or have hypothesis try another one: a class may ask more of its fields than their types say."""
    try:
        if issubclass(kind, pydantic.BaseModel):
            fields = held["root"] if issubclass(kind, pydantic.RootModel) else held
            return kind.model_validate(fields, by_alias=False, by_name=True)
        return kind(**held) if isinstance(held, dict) and not issubclass(kind, dict) else kind(held)
    except Exception:  # noqa: BLE001 - a class of the team's may raise anything
        reject()
