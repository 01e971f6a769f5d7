"""The serializer: what a checkpoint stores comes back as it was, or is refused when it is written.

LangGraph's serializer stores objects of any class and restores those that it was told of; the others come back as
dictionaries, without a word, in the middle of some later run. This one writes the same format, but it looks at a class
before it stores the first value of it: the value is packed, and rebuilt as a later run would do it. What does not come
back with its class is refused, and the error names the line that is missing. The verdict holds for all values of the
class, so a superstep costs what it costs with LangGraph's.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Self

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from .errors import BadCheckpointType, ValueRefused
from .exact_forms import Form, Key, key_of
from .exact_reading import Unpacker
from .exact_writing import Packer


class StrictSerializer(JsonPlusSerializer):
    """Stores only what it can restore: values of `types`, and of those that LangGraph always restores."""

    def __init__(self, types: Iterable[type | Key] = ()) -> None:
        """Raises BadCheckpointType for one that no checkpoint could name."""
        for kind in (types := tuple(types)):
            if not isinstance(kind, tuple):
                _check(kind)
        super().__init__(allowed_msgpack_modules=types)
        self._allowed = _keys(types)
        self._forms: dict[type, Form] = {}
        self._extended: dict[frozenset[Key], StrictSerializer] = {}

    def with_msgpack_allowlist(self, extra_allowlist: Iterable[Key | type]) -> Self:
        """Return a serializer that restores more types. LangGraph asks for it with each call of a graph."""
        extra = _keys(extra_allowlist)
        if extra <= self._allowed:
            return self
        if extra not in self._extended:
            self._extended[extra] = type(self)(self._allowed | extra)
        return self._extended[extra]  # type: ignore[return-value] # of this very class

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:  # Any: upstream's
        """Return the value as bytes. Raises ValueRefused."""
        if obj is None or isinstance(obj, bytes | bytearray):
            return super().dumps_typed(obj)
        if isinstance(obj, BaseException):  # by LangGraph, of a node that failed: it keeps the text
            obj = repr(obj)
        try:
            return "msgpack", self._pack(obj)
        except ValueRefused as refusal:
            if isinstance(obj, dict) and isinstance(values := obj.get("channel_values"), dict):
                self._blame(values)  # SQLite's saver stores a whole checkpoint at once
            raise refusal from None

    def loads_typed(self, data: tuple[str, bytes]) -> Any:  # Any: upstream's
        """Return the value. Raises ValueUnreadable."""
        if data[0] == "msgpack":
            return Unpacker(self._allowed).unpack(data[1])
        return super().loads_typed(data)

    def _pack(self, value: object) -> bytes:
        return Packer(self._allowed, self._forms).pack(value)

    def _blame(self, values: dict[str, object]) -> None:
        for channel, value in values.items():
            try:
                self._pack(value)
            except ValueRefused as refusal:
                raise refusal.at(channel) from None


def _keys(types: Iterable[type | Key]) -> frozenset[Key]:
    return frozenset(key_of(kind) if isinstance(kind, type) else tuple(kind) for kind in types)


def _check(kind: object) -> None:
    """Raise BadCheckpointType for a class that a checkpoint cannot name by its module and its name."""
    if not isinstance(kind, type):
        raise BadCheckpointType(f"something of type {type(kind).__name__}", "Name classes in it")
    try:
        found = getattr(import_module(kind.__module__), kind.__name__)
    except (ImportError, AttributeError):
        found = None
    if found is not kind:
        raise BadCheckpointType(
            f"{kind.__module__}.{kind.__qualname__}, which cannot be imported from its module as {kind.__name__}",
            "Move the class to the top level of its module",
        )
