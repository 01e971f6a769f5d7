"""What a checkpoint holds, rebuilt: each object with the class that it had, or an error, never plain data instead."""

import logging
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from importlib import import_module
from typing import Any

import ormsgpack
from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_METHODS, SAFE_MSGPACK_TYPES
from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_KW_ARGS,
    EXT_CONSTRUCTOR_POS_ARGS,
    EXT_CONSTRUCTOR_SINGLE_ARG,
    EXT_DELTA_SNAPSHOT,
    EXT_METHOD_SINGLE_ARG,
    EXT_PYDANTIC_V1,
    EXT_PYDANTIC_V2,
    _msgpack_ext_hook,
)
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.types import Send

from .errors import ValueUnreadable
from .exact_forms import Key, key_of
from .exact_text import MAPPING, TEXT

logger = logging.getLogger(__name__)

_unvalidated: set[object] = set()  # classes that were logged


class Unpacker:
    """Reads one value. `allowed` names the classes that it may build, besides those that are always safe."""

    def __init__(self, allowed: AbstractSet[Key]) -> None:
        self._allowed = allowed
        self._failure: ValueUnreadable | None = None  # ormsgpack drops what the hook raises

    def unpack(self, data: bytes) -> Any:  # Any: whatever was stored
        """Raises ValueUnreadable."""
        try:
            return ormsgpack.unpackb(data, ext_hook=self._hook, option=ormsgpack.OPT_NON_STR_KEYS)
        except (ValueError, TypeError):
            raise (self._failure or ValueUnreadable("bytes that are no msgpack", _DAMAGED)) from None

    def _hook(self, code: int, data: bytes) -> Any:  # Any: as above
        try:
            return self._built(code, data)
        except ValueUnreadable as failure:
            self._failure = self._failure or failure
            raise

    def _built(self, code: int, data: bytes) -> Any:  # Any: whatever was stored
        if code == EXT_DELTA_SNAPSHOT:
            return _DeltaSnapshot(self.unpack(data))
        if code not in _CONSTRUCTORS:
            array = _msgpack_ext_hook(code, data)
            if array is None:
                raise ValueUnreadable("an array, or something that a later LangGraph wrote,", _DAMAGED)
            return array
        parts = self.unpack(data)
        try:
            module, name, payload, *more = parts
        except (TypeError, ValueError):
            raise ValueUnreadable("an object without a class", _DAMAGED) from None
        key = (module, name)
        if more and key == TEXT:
            return more[0].decode("utf-8", "surrogatepass")
        if more and key == MAPPING:
            return dict(zip(more[0], payload.values(), strict=True))
        if code == EXT_METHOD_SINGLE_ARG:
            if (module, name, more[0]) not in SAFE_MSGPACK_METHODS:
                raise ValueUnreadable(
                    f"a value of type {module}.{name}", "Such a value is not restored from checkpoints"
                )
        elif key not in SAFE_MSGPACK_TYPES and key not in self._allowed:
            raise ValueUnreadable(
                f"a value of type {module}.{name}, which this program does not restore",
                f"Add it in the agent's door: checkpoint_types = (..., {module}.{name})",
            )
        return _construct(code, key, payload, more)


def _construct(code: int, key: Key, payload: Any, more: list[str]) -> Any:  # Any: whatever was stored
    module, name = key
    what = f"a value of type {module}.{name}"
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        raise ValueUnreadable(
            f"{what}, which is no longer there",
            f"Keep the name {name} in the module {module} until the threads that hold it are gone",
        ) from None
    try:
        return _CONSTRUCTORS[code](getattr(kind, more[0]) if code == EXT_METHOD_SINGLE_ARG else kind, payload)
    except Exception as error:  # noqa: BLE001 - a class of the team's may raise anything
        raise ValueUnreadable(
            f"{what}, which its class no longer accepts ({type(error).__name__})",
            "Give new fields a default and keep old ones until the threads that hold such values are gone",
        ) from None


def _positional(kind: Any, payload: Any) -> Any:  # Any: what a class is called with, and makes, is up to it
    if kind is Send and len(payload) == 3:
        return Send(payload[0], payload[1], timeout=payload[2])
    return kind(*payload)


def _model(kind: Any, payload: Any) -> Any:  # Any: a model of pydantic 1 or 2 and its fields
    try:
        return kind(**payload)
    except Exception as error:  # noqa: BLE001 - as above; a model that was changed may not pass its own validation
        if kind not in _unvalidated:
            _unvalidated.add(kind)
            logger.warning("%s.%s no longer validates what checkpoints hold (%s)", *key_of(kind), type(error).__name__)
        return kind.model_construct(**payload) if hasattr(kind, "model_construct") else kind.construct(**payload)


_DAMAGED = "Restore the row from a backup, or delete the thread"
_CONSTRUCTORS: dict[int, Callable[[Any, Any], Any]] = {  # Any: as above
    EXT_CONSTRUCTOR_SINGLE_ARG: lambda kind, payload: kind(payload),
    EXT_CONSTRUCTOR_POS_ARGS: _positional,
    EXT_CONSTRUCTOR_KW_ARGS: lambda kind, payload: kind(**payload),
    EXT_METHOD_SINGLE_ARG: lambda method, payload: method(payload),
    EXT_PYDANTIC_V1: _model,
    EXT_PYDANTIC_V2: _model,
}
