"""What a checkpoint holds, rebuilt: each object with the class that it had, or an error, never plain data instead."""

import logging
from collections.abc import Set as AbstractSet
from importlib import import_module
from typing import Any

import ormsgpack
from langgraph.types import Send

from .errors import ValueUnreadable
from .exact_forms import (
    EXT_CONSTRUCTOR_KW_ARGS,
    EXT_CONSTRUCTOR_POS_ARGS,
    EXT_CONSTRUCTOR_SINGLE_ARG,
    EXT_DELTA_SNAPSHOT,
    EXT_METHOD_SINGLE_ARG,
    EXT_PYDANTIC_V1,
    EXT_PYDANTIC_V2,
    SAFE_MSGPACK_METHODS,
    SAFE_MSGPACK_TYPES,
    Key,
    _DeltaSnapshot,
    _msgpack_ext_hook,
)

logger = logging.getLogger(__name__)

# What LangGraph's serializer cannot store exactly goes out as an object of one of these classes, with a fourth part
# that only we look at: it takes the third for the value.
TEXT = ("builtins", "str")
MAPPING = ("builtins", "dict")

_unvalidated: set[Key] = set()  # classes that were logged


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

    def build(self, code: int, data: bytes) -> Any:  # Any: as above
        """Return the object that one extension of msgpack stands for. Raises ValueUnreadable."""
        if code == EXT_DELTA_SNAPSHOT:
            return _DeltaSnapshot(self.unpack(data))
        if code not in _BUILT:
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

    def _hook(self, code: int, data: bytes) -> Any:  # Any: as above
        try:
            return self.build(code, data)
        except ValueUnreadable as failure:
            self._failure = self._failure or failure
            raise


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
        if code == EXT_METHOD_SINGLE_ARG:
            return getattr(kind, more[0])(payload)
        if code == EXT_CONSTRUCTOR_SINGLE_ARG:
            return kind(payload)
        if code == EXT_CONSTRUCTOR_POS_ARGS:
            return Send(payload[0], payload[1], timeout=payload[2]) if _is_timed_send(kind, payload) else kind(*payload)
        if code == EXT_CONSTRUCTOR_KW_ARGS:
            return kind(**payload)
        return _model(kind, key, payload)
    except Exception as error:  # noqa: BLE001 - a class of the team's may raise anything
        raise ValueUnreadable(
            f"{what}, which its class no longer accepts ({type(error).__name__})",
            "Give new fields a default and keep old ones until the threads that hold such values are gone",
        ) from None


def _model(kind: Any, key: Key, payload: dict[str, Any]) -> Any:  # Any: a model of pydantic 1 or 2 and its fields
    try:
        return kind(**payload)
    except Exception as error:  # noqa: BLE001 - as above; a model that was changed may not pass its own validation
        if key not in _unvalidated:
            _unvalidated.add(key)
            logger.warning("%s.%s no longer validates what checkpoints hold (%s)", *key, type(error).__name__)
        return kind.model_construct(**payload) if hasattr(kind, "model_construct") else kind.construct(**payload)


def _is_timed_send(kind: object, payload: Any) -> bool:  # Any: as stored
    return kind is Send and len(payload) == 3


_DAMAGED = "Restore the row from a backup, or delete the thread"
_BUILT = frozenset(
    {
        EXT_CONSTRUCTOR_SINGLE_ARG,
        EXT_CONSTRUCTOR_POS_ARGS,
        EXT_CONSTRUCTOR_KW_ARGS,
        EXT_METHOD_SINGLE_ARG,
        EXT_PYDANTIC_V1,
        EXT_PYDANTIC_V2,
    }
)
