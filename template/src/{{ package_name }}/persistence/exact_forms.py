"""How an object becomes msgpack, by its class: as with LangGraph's serializer, so each reads what the other wrote."""

import dataclasses
from collections import deque
from collections.abc import Callable
from enum import Enum
from functools import cache
from pathlib import Path
from re import Pattern
from typing import Any

import ormsgpack
from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_KW_ARGS,
    EXT_CONSTRUCTOR_POS_ARGS,
    EXT_CONSTRUCTOR_SINGLE_ARG,
    EXT_DELTA_SNAPSHOT,
    EXT_PYDANTIC_V1,
    EXT_PYDANTIC_V2,
    _msgpack_default,
)
from langgraph.checkpoint.serde.types import SendProtocol, _DeltaSnapshot
from pydantic import AliasChoices, AliasPath, BaseModel, PlainSerializer, WrapSerializer

Key = tuple[str, ...]
"""A class as a checkpoint names it: its module and its name."""

Pack = Callable[[object], bytes]
Form = Callable[[Any, Pack], object]
"""Makes msgpack of a value, whose parts it gives to a Pack. Any: values of the class that it was made for."""

# What makes a plain value of one of a derived class. Any: such values.
_PLAIN: dict[type, Callable[[Any], object]] = {
    str: str.__str__,  # what str() returns is up to the class
    int: int.__int__,
    float: float.__float__,
    list: list,
    dict: dict,
}


def key_of(kind: type) -> Key:
    """Return how a checkpoint names the class."""
    return (kind.__module__, kind.__name__)


def form_of(value: object) -> Form:
    """Return how values of this one's class are stored."""
    return next((form for applies, form in _FORMS if applies(value)), _leaf)


def base_of(value: object) -> type | None:
    """Return the plain type that the value's class extends: LangGraph's serializer takes it for that."""
    return next((base for base in _PLAIN if isinstance(value, base)), None)


def narrowed(value: object) -> object:
    """Return the plain value that one of a class derived from str, int, float, list or dict equals."""
    if isinstance(value, Enum):
        return value.value
    return next(plain(value) for base, plain in _PLAIN.items() if isinstance(value, base))


def model_dump(value: Any, pack: Pack) -> ormsgpack.Ext:  # Any: has model_dump
    """Return a model with all that is in it as plain data: what it holds is restored by its annotations."""
    return _form(EXT_PYDANTIC_V2, lambda model: model.model_dump(), "model_validate_json")(value, pack)


def _form(
    code: int, payload: Callable[[Any], object], *more: str
) -> Callable[[object, Pack], ormsgpack.Ext]:  # Any: see Form
    def make(value: object, pack: Pack) -> ormsgpack.Ext:
        return ormsgpack.Ext(code, pack((*key_of(type(value)), payload(value), *more)))

    return make


def _leaf(value: object, pack: Pack) -> ormsgpack.Ext:
    """Return what holds no other values as LangGraph stores it. Raises TypeError."""
    if hasattr(value, "dtype") and (value.dtype.hasobject or value.dtype.names):
        raise TypeError("an array of objects or records")  # its pointers, or bytes without the records' fields
    made = _msgpack_default(value)
    if not isinstance(made, ormsgpack.Ext):
        raise TypeError("text is stored in its place")  # in an exception's
    return made


def _fields(model: BaseModel) -> dict[str, object]:
    """Return a model's fields as they are; what is in them is stored by its own class and so keeps it."""
    held = model.__dict__
    fields = {given: held[name] for name, given in _field_names(type(model)).items() if name in held}
    return {**fields, **(model.__pydantic_extra__ or {})}


@cache
def _field_names(kind: type[BaseModel]) -> dict[str, str]:
    """Return the keyword that sets each field, by the field's name. Raises TypeError for a field without one."""
    by_name = kind.model_config.get("populate_by_name") or kind.model_config.get("validate_by_name")
    names = {}
    for name, field in kind.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            alias = next((choice for choice in alias.choices if isinstance(choice, str)), alias.choices[0])
        if isinstance(alias, AliasPath) and not by_name:
            raise TypeError("a field that is filled from inside another one")
        names[name] = alias if isinstance(alias, str) and not by_name else name
    return names


def _serializes_itself(kind: type[BaseModel]) -> bool:
    """Whether a model says by itself what is stored of it."""
    own = kind.__pydantic_decorators__
    return bool(own.field_serializers or own.model_serializers) or any(
        field.exclude
        or getattr(field, "exclude_if", None)
        or any(isinstance(note, PlainSerializer | WrapSerializer) for note in field.metadata)
        for field in kind.model_fields.values()
    )


def _send(value: Any) -> tuple[object, ...]:  # Any: a SendProtocol, which has no timeout
    timeout = getattr(value, "timeout", None)
    return (value.node, value.arg) if timeout is None else (value.node, value.arg, timeout)


def _shallow(value: Any) -> dict[str, object]:  # Any: any dataclass
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _pattern(value: Any, pack: Pack) -> ormsgpack.Ext:  # Any: a re.Pattern of text or bytes
    return ormsgpack.Ext(EXT_CONSTRUCTOR_POS_ARGS, pack(("re", "compile", (value.pattern, value.flags))))


def _is(*kinds: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kinds)


def _has(method: str) -> Callable[[object], bool]:
    return lambda value: callable(getattr(value, method, None))


# Which values are stored how. The first that applies counts, and the order is LangGraph's.
_FORMS: tuple[tuple[Callable[[object], bool], Form], ...] = (
    (_is(_DeltaSnapshot), lambda value, pack: ormsgpack.Ext(EXT_DELTA_SNAPSHOT, pack(value.value))),
    (
        lambda value: isinstance(value, BaseModel) and not _serializes_itself(type(value)),
        _form(EXT_PYDANTIC_V2, _fields, "model_validate_json"),
    ),
    (_has("model_dump"), model_dump),
    (_has("get_secret_value"), _form(EXT_CONSTRUCTOR_SINGLE_ARG, lambda value: value.get_secret_value())),
    (
        lambda value: callable(getattr(value, "dict", None)) and base_of(value) is None,
        _form(EXT_PYDANTIC_V1, lambda value: value.dict()),
    ),
    (_has("_asdict"), _form(EXT_CONSTRUCTOR_KW_ARGS, lambda value: value._asdict())),
    (_is(Path), _form(EXT_CONSTRUCTOR_POS_ARGS, lambda value: value.parts)),
    (_is(Pattern), _pattern),
    (_is(set, frozenset, deque), _form(EXT_CONSTRUCTOR_SINGLE_ARG, tuple)),
    (_is(Enum), _form(EXT_CONSTRUCTOR_SINGLE_ARG, lambda value: value.value)),
    (lambda value: isinstance(value, SendProtocol), _form(EXT_CONSTRUCTOR_POS_ARGS, _send)),
    (dataclasses.is_dataclass, _form(EXT_CONSTRUCTOR_KW_ARGS, _shallow)),
    (_is(*_PLAIN), _form(EXT_CONSTRUCTOR_SINGLE_ARG, narrowed)),
)
