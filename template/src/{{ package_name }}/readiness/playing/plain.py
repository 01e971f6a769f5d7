"""Values of a state as two runs have them in common."""

from collections.abc import Mapping

from langchain_core.messages import BaseMessage


def plain(value: object) -> object:
    """Return the value as JSON can hold it, without what differs from run to run: a message's id and metadata."""
    match value:
        case BaseMessage():
            return {"type": value.type, "content": value.content, "tool_calls": getattr(value, "tool_calls", [])}
        case Mapping():
            return {str(key): plain(part) for key, part in value.items()}
        case list() | tuple():
            return [plain(part) for part in value]
        case set() | frozenset():
            return sorted(map(repr, value))
        case str() | int() | float() | None:
            return value
        case _:
            return repr(value)
