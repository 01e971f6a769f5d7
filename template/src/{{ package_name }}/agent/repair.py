"""Tool calls without results: repaired before a model sees them.

A run that was cancelled, or given up after a crash, can leave a message with tool calls whose results never came. The
next turn would show it to the model, and every provider refuses that. The other way round, a cut through a conversation
can leave a result without its call. The state keeps what happened; what is repaired is what the model is shown.
"""

from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

INTERRUPTED = "was interrupted, no result"


def whole(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Return the messages with a result behind each tool call; equal to them if nothing is missing.

    A result that came later, behind other messages, is moved to its call. One that answers no call before it is left
    out. Calls of which the model made no valid JSON are answered too: providers are shown them as calls.
    """
    called: dict[str, int] = {}  # where each id was called last; from one turn to the next a model may repeat an id
    results: dict[int, list[AnyMessage]] = {}  # by the place of their call
    for at, message in enumerate(messages):
        if isinstance(message, AIMessage):
            called |= dict.fromkeys(_calls(message), at)
        elif isinstance(message, ToolMessage) and message.tool_call_id in called:
            results.setdefault(called.pop(message.tool_call_id), []).append(message)
    repaired: list[AnyMessage] = []
    for at, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            continue  # it comes with its call
        repaired += [message, *results.get(at, [])]
        if isinstance(message, AIMessage):
            answered = {result.tool_call_id for result in results.get(at, []) if isinstance(result, ToolMessage)}
            repaired += [_interrupted(id_, name) for id_, name in _calls(message).items() if id_ not in answered]
    return repaired


def _calls(message: AIMessage) -> dict[str, str]:
    """Return the names of what the message calls, by the calls' ids; a call without an id cannot be answered."""
    calls = (*message.tool_calls, *message.invalid_tool_calls)
    return {call["id"]: call["name"] or "" for call in calls if call["id"]}


def _interrupted(call: str, name: str) -> ToolMessage:
    return ToolMessage(INTERRUPTED, tool_call_id=call, name=name, status="error", id=f"interrupted-{call}")
