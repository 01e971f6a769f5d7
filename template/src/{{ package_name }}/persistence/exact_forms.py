"""How an object becomes msgpack, by its class: as with LangGraph's serializer, so that each reads what the other wrote.

All private names of that serializer that this project needs are imported here, and a test fails when one goes away.
"""

import dataclasses
import pathlib
import re
from collections import deque
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any

import ormsgpack
from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_METHODS, SAFE_MSGPACK_TYPES
from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_KW_ARGS,
    EXT_CONSTRUCTOR_POS_ARGS,
    EXT_CONSTRUCTOR_SINGLE_ARG,
    EXT_DELTA_SNAPSHOT,
    EXT_METHOD_SINGLE_ARG,
    EXT_NUMPY_ARRAY,
    EXT_PYDANTIC_V1,
    EXT_PYDANTIC_V2,
    _msgpack_default,
    _msgpack_ext_hook,
)
from langgraph.checkpoint.serde.types import SendProtocol, _DeltaSnapshot
from pydantic import AliasChoices, AliasPath, BaseModel, PlainSerializer, WrapSerializer

__all__ = [
    "EXT_CONSTRUCTOR_KW_ARGS",
    "EXT_CONSTRUCTOR_POS_ARGS",
    "EXT_CONSTRUCTOR_SINGLE_ARG",
    "EXT_DELTA_SNAPSHOT",
    "EXT_METHOD_SINGLE_ARG",
    "EXT_NUMPY_ARRAY",
    "EXT_PYDANTIC_V1",
    "EXT_PYDANTIC_V2",
    "SAFE_MSGPACK_METHODS",
    "SAFE_MSGPACK_TYPES",
    "Form",
    "Key",
    "Pack",
    "_DeltaSnapshot",
    "_msgpack_ext_hook",
    "base_of",
    "form_of",
    "key_of",
    "model_dump",
    "narrowed",
]

Key = tuple[str, ...]
"""A class as a checkpoint names it: its module and its name."""

Pack = Callable[[object], bytes]
Form = Callable[[Any, Pack], object]
"""Makes msgpack of a value, whose parts it gives to a Pack. Any: values of the class that it was made for."""

_BASES = (str, int, float, list, dict)


def key_of(kind: type) -> Key:
    """Return how a checkpoint names the class."""
    return (kind.__module__, kind.__name__)


def form_of(value: object) -> Form | None:
    """Return how values of this one's class are stored, or None if nobody knows. The order is LangGraph's."""
    if isinstance(value, _DeltaSnapshot):
        return lambda value, pack: ormsgpack.Ext(EXT_DELTA_SNAPSHOT, pack(value.value))
    if isinstance(value, BaseModel) and not _serializes_itself(type(value)):
        return _form(EXT_PYDANTIC_V2, _fields, "model_validate_json")
    for applies, known in _FORMS:
        if applies(value):
            return known
    base = base_of(value)
    if base is not None:
        return _form(EXT_CONSTRUCTOR_SINGLE_ARG, narrowed)
    return None if isinstance(value, BaseException) else _leaf


def base_of(value: object) -> type | None:
    """Return the plain type that the value's class extends: LangGraph's serializer takes it for that."""
    return next((base for base in _BASES if isinstance(value, base)), None)


def narrowed(value: object) -> object:
    """Return the plain value that one of a class derived from str, int, float, list or dict equals."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return str.__str__(value)  # what str() returns is up to the class
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, dict):
        return dict(value)
    return list(value) if isinstance(value, list) else value


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
    """Return what holds no other values as LangGraph stores it."""
    if hasattr(value, "dtype") and (value.dtype.hasobject or value.dtype.names):
        raise TypeError("an array of objects or records")  # its pointers, or bytes without the records' fields
    made = _msgpack_default(value)
    if not isinstance(made, ormsgpack.Ext):
        raise TypeError("text is stored in its place")
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


def _has(method: str) -> Callable[[object], bool]:
    return lambda value: callable(getattr(value, method, None))


_FORMS: tuple[tuple[Callable[[object], bool], Form], ...] = (
    (_has("model_dump"), model_dump),
    (_has("get_secret_value"), _form(EXT_CONSTRUCTOR_SINGLE_ARG, lambda value: value.get_secret_value())),
    (
        lambda value: callable(getattr(value, "dict", None)) and base_of(value) is None,
        _form(EXT_PYDANTIC_V1, lambda value: value.dict()),
    ),
    (_has("_asdict"), _form(EXT_CONSTRUCTOR_KW_ARGS, lambda value: value._asdict())),
    (lambda value: isinstance(value, pathlib.Path), _form(EXT_CONSTRUCTOR_POS_ARGS, lambda value: value.parts)),
    (lambda value: isinstance(value, re.Pattern), _pattern),
    (lambda value: isinstance(value, set | frozenset | deque), _form(EXT_CONSTRUCTOR_SINGLE_ARG, tuple)),
    (lambda value: isinstance(value, Enum), _form(EXT_CONSTRUCTOR_SINGLE_ARG, lambda value: value.value)),
    (lambda value: isinstance(value, SendProtocol), _form(EXT_CONSTRUCTOR_POS_ARGS, _send)),
    (dataclasses.is_dataclass, _form(EXT_CONSTRUCTOR_KW_ARGS, _shallow)),
)
