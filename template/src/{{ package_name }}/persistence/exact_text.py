"""What text cannot be stored as it is: lone surrogates everywhere, and the character NUL in some databases' JSON.

A lone surrogate is half of a character, as models and `json.loads` produce it when a text is cut in the wrong place.
"""

from dataclasses import dataclass
from datetime import date, time
from enum import Enum
from typing import Any
from uuid import UUID

TEXT = ("builtins", "str")
MAPPING = ("builtins", "dict")

_PLAIN_KEYS = frozenset({int, float, bool, type(None), bytes})
_PLAIN_OR_TEXT = _PLAIN_KEYS | {str}
_CONTAINERS = frozenset({dict, list, tuple})


@dataclass(slots=True)
class Odd:
    """A text with lone surrogates, or a dictionary with keys that msgpack would change, for msgpack's callback.

    It is stored as an object of the class TEXT or MAPPING, of four parts. LangGraph's serializer takes the third for
    the value: one with others in their place. Only we look at the fourth, which holds the real ones.
    """

    parts: tuple[object, ...]


def has_surrogates(text: str) -> bool:
    """Whether the text cannot be UTF-8."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def scrub(text: str) -> str:
    """Return the text with a question mark for each lone surrogate."""
    return text.encode("utf-8", "replace").decode()


def has_odd_keys(value: Any) -> bool:  # Any: whatever is to be stored
    """Whether plain data has keys that are not plain, or tuples. Raises RecursionError."""
    if type(value) is dict:
        if not _PLAIN_OR_TEXT.issuperset(map(type, value)):
            return True
        value = value.values()
    elif type(value) is not list and type(value) is not tuple:
        return False
    return any(has_odd_keys(item) for item in value if type(item) in _CONTAINERS)


def mended(value: Any) -> object:  # Any: whatever is to be stored
    """Return a copy of plain data in which all odd texts and keys are marked. Raises RecursionError, TypeError."""
    kind = type(value)
    if kind is str and has_surrogates(value):
        return Odd((*TEXT, scrub(value), value.encode("utf-8", "surrogatepass")))
    if kind is list or kind is tuple:
        return [mended(item) for item in value]
    if kind is not dict:
        return value
    if all(map(_is_plain_key, value)):
        return {key: mended(item) for key, item in value.items()}
    stored: dict[object, object] = {}
    for key, item in value.items():
        stand_in = _stored_key(key)
        while stand_in in stored and isinstance(stand_in, str):
            stand_in += "?"
        if stand_in in stored:
            raise TypeError("keys that are equal once they are stored")
        stored[stand_in] = mended(item)
    return Odd((*MAPPING, stored, [mended(key) for key in value]))


def _is_plain_key(key: object) -> bool:
    if type(key) is str:
        return not has_surrogates(key)
    return type(key) in _PLAIN_KEYS or (type(key) is tuple and all(map(_is_plain_key, key)))


def _stored_key(key: object) -> object:
    """Return what stands in for a key where LangGraph reads it."""
    if type(key) in _PLAIN_KEYS:
        return key
    if isinstance(key, Enum):
        return _stored_key(key.value)
    if isinstance(key, str):
        return scrub(str.__str__(key))
    if isinstance(key, int):
        return int.__int__(key)
    if isinstance(key, date | time):
        return key.isoformat()
    if isinstance(key, UUID):
        return str(key)
    raise TypeError("a key of another type")
