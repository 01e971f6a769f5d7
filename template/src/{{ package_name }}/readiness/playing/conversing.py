"""Conversations of several turns on one thread, and the messages that they leave in the state."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard
from uuid import uuid4

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from ...scenario import Scenario
from ..engine.check import Place
from ..source.nodes import nodes
from .play import Played, Stored, play


async def converse(
    inputs: Iterable[Mapping[str, Any]],  # Any: a state's values
    scenario: Scenario,
    folder: Path,
    *,
    before: Sequence[Played] = (),
    callbacks: Sequence[AsyncCallbackHandler] = (),
) -> list[Played]:
    """Play a scenario with one input after the other, on one thread, and return a record for each turn.

    `before` is what was returned for the turns before these, played in the same folder.
    """
    turns = list(before)
    for payload in inputs:
        thread = turns[0].thread if turns else ""
        turns.append(await play(replace(scenario, input=payload), folder, thread=thread, callbacks=callbacks))
        if turns[-1].error or (turns[-1].status and turns[-1].status.condition == "waiting"):
            break
    return turns


def next_turn(payload: Mapping[str, Any]) -> dict[str, Any]:  # Any: a state's values
    """Return an input as it is for a later turn: of its messages the newest turn's only, with ids of their own."""
    return {name: renewed(newest(value)) if is_messages(value) else value for name, value in payload.items()}


def is_messages(value: object) -> TypeGuard[list[BaseMessage]]:
    """Tell whether a value is a list of messages, and not an empty one."""
    return isinstance(value, list) and bool(value) and all(isinstance(each, BaseMessage) for each in value)


def message_channels(records: Iterable[Played]) -> set[str]:
    """Return the channels of the graph itself that have held messages."""
    return {
        name
        for played in records
        for stored in played.checkpoints
        if not stored.namespace
        for name, value in stored.values.items()
        if is_messages(value) and not name.startswith("__")
    }


def last(played: Played) -> Stored | None:
    """Return the last checkpoint of the graph itself."""
    return next((stored for stored in reversed(played.checkpoints) if not stored.namespace), None)


def newest(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return the newest human message and what follows it; all messages if there is none."""
    return list(messages[_newest_human(messages) or 0 :])


def until_newest(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return the messages up to the newest human one, and that."""
    at = _newest_human(messages)
    return list(messages if at is None else messages[: at + 1])


def _newest_human(messages: Sequence[BaseMessage]) -> int | None:
    return next((at for at in reversed(range(len(messages))) if isinstance(messages[at], HumanMessage)), None)


def renewed(messages: Iterable[BaseMessage]) -> list[BaseMessage]:
    """Return copies of messages with new ids, of the tool calls as well: as if the same had been said once more."""
    stamp = uuid4().hex[:8]
    found: list[BaseMessage] = []
    for message in messages:
        changes: dict[str, Any] = {"id": uuid4().hex}  # Any: fields of a message
        if isinstance(message, AIMessage):
            changes["tool_calls"] = [{**call, "id": f"{call['id']}-{stamp}"} for call in message.tool_calls]
        if isinstance(message, ToolMessage):
            changes["tool_call_id"] = f"{message.tool_call_id}-{stamp}"
        found.append(message.model_copy(update=changes))
    return found


def unpaired(messages: Iterable[BaseMessage]) -> tuple[Counter[str], Counter[str]]:
    """Return the ids of tool calls without a result, and those of results without a call."""
    listed = list(messages)
    calls = Counter(str(call["id"]) for each in listed if isinstance(each, AIMessage) for call in each.tool_calls)
    results = Counter(each.tool_call_id for each in listed if isinstance(each, ToolMessage))
    return calls - results, results - calls


def place_of(node: str) -> Place | None:
    """Return where the node of this name is written."""
    return next((each.place for each in nodes() if each.name == node), None)
