"""R05 summarisation: a long conversation is cut, in the state and in what a model is given, and nothing is torn.

The longest conversation among the scenarios' inputs is put into a thread; one that is within the budget is first
continued with what its own scenario has left in the state. Then comes a turn with the newest message alone.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.messages.utils import count_tokens_approximately
from langgraph.channels import LastValue

from ..agent import build_graph
from ..scenario import Scenario
from .engine.budgets import Budgets
from .engine.check import Check, Exam, Place
from .playing.conversing import (
    converse,
    is_messages,
    last,
    message_channels,
    next_turn,
    place_of,
    renewed,
    unpaired,
    until_newest,
)
from .playing.play import Played, Plays

ENOUGH = 1.25  # times the budget: a conversation of so many tokens has to be cut
SHORT = 12  # characters; a shorter text stands in a prompt by chance
CHARACTERS = 4  # a token, as count_tokens_approximately has it
TURNS = 12  # of a scenario whose input has no messages

CHECK = Check(
    id="R05",
    title="summarisation",
    holds="a conversation that is longer than `summary_tokens` is cut in the stored state, no later call of a model is"
    " given more of it than that, each tool call keeps its result, and the newest human message survives.",
    why="every superstep stores the messages, every call of a model pays for them, and a provider refuses a tool call"
    " without its result.",
    remedy="in a node before the model is called, count the tokens, and return `{'messages':"
    " [RemoveMessage(REMOVE_ALL_MESSAGES), summary, *newest]}` with the cut at a human message; a node that changes"
    " `state['messages']` and does not return it changes nothing. See `agent/memory.py`.",
    fact="measured: 100 turns with `add_messages` left 14.05 MB of blobs, with a summary 2.47 MB. A summary returned"
    " without `RemoveMessage` was appended to what it replaces; a compaction that rebinds `state['messages']`, as one"
    " template has it, left all 10 messages; the last four messages of a conversation began with a tool's result.",
    not_covered="whether the summary is true; messages in a store or a prompt that come from elsewhere than the state;"
    " models that are called without LangChain; a conversation that the caller sends anew on each turn.",
)


def test_long_conversation_is_cut(
    scenarios: list[Scenario], plays: Plays, budgets: Budgets, tmp_path: Path, exam: Exam
) -> None:
    """Every channel of messages stays within the budget, whole."""
    records = [plays.of(scenario) for scenario in scenarios]
    exam.look("channels", len({name for played in records for stored in played.checkpoints for name in stored.values}))
    records = [played for played in records if not played.error]  # one that fails anyway says nothing of summaries
    for number, channel in enumerate(sorted(message_channels(records))):
        asyncio.run(_examine(channel, records, budgets.summary_tokens, tmp_path / str(number), exam))


async def _examine(channel: str, records: Sequence[Played], limit: int, folder: Path, exam: Exam) -> None:
    played = max(records, key=lambda each: count_tokens_approximately(_messages(each.scenario.input, channel)))
    inputs = _inputs(played, channel, limit)
    given = _messages(inputs[0], channel)
    scenario = f"scenario {played.scenario.name}"
    torn = unpaired(given)  # as the scenario has it: not to be held against the graph
    done: list[Played] = []
    exam.look("messages", len(given))
    for number, payload in enumerate(inputs, start=1):
        calls = _Calls()
        done = await converse([payload], played.scenario, folder, before=done, callbacks=[calls])
        if error := done[-1].error:
            exam.find(f"{scenario} fails in turn {number}, its channel `{channel}` being long: {error!r}")
            return
        end = last(done[-1])
        stored = _messages(end.values if end else {}, channel)
        where = f"{scenario}, turn {number}: the channel `{channel}`"
        held = count_tokens_approximately(until_newest(stored))
        exam.require(held <= limit, f"{where} is not cut: it holds {held:,} tokens, {limit:,} at most")
        _require_whole(stored, torn, where, exam)
        asked = [message.text for message in _messages(payload, channel) if isinstance(message, HumanMessage)]
        lost = asked[-1:] and asked[-1] not in {message.text for message in stored}
        exam.require(not lost, f"{where} has lost the newest human message: {asked[-1:]}")
        said = {
            message.id or message.text: message
            for one in done
            for at in one.checkpoints
            for message in _all(at.values.values())
        }
        for node, prompt in calls.made:
            exam.look("calls of a model")
            what, place = f"{scenario}, turn {number}: node {node} gives a model", place_of(node)
            _require_whole(prompt, torn, f"{what} a prompt that", exam, place)
            part = _tokens_of(said, prompt)
            # In the first turn whoever makes the summary has to be given all that it replaces.
            text = f"{what} {part:,} tokens of the conversation, {limit:,} at most"
            exam.require(number == 1 or part <= limit, text, place)
        if done[-1].status and done[-1].status.condition == "waiting":
            return  # the scenario ends with a question: nothing can be said before it is answered


def _inputs(played: Played, channel: str, limit: int) -> list[dict[str, Any]]:  # Any: a state's values
    """Return the inputs of the turns: a conversation over the limit, if one can be put in, and one more question."""
    first = dict(played.scenario.input)
    own = _messages(first, channel)
    if not own:
        return [next_turn(first) for _ in range(TURNS)]
    if count_tokens_approximately(own) <= limit and not isinstance(build_graph().channels.get(channel), LastValue):
        left = _messages(played.values, channel) or own
        times = int(ENOUGH * limit / max(count_tokens_approximately(left), 1)) + 1
        first[channel] = [*(message for _ in range(times) for message in renewed(left)), *own]
    return [first, next_turn(first)]


def _require_whole(
    messages: Sequence[BaseMessage],
    before: tuple[Counter[str], Counter[str]],
    what: str,
    exam: Exam,
    place: Place | None = None,
) -> None:
    calls, results = (now - torn for now, torn in zip(unpaired(messages), before, strict=True))
    exam.require(
        not calls, f"{what} has {calls.total()} tool calls without a result, such as {next(iter(calls), '')}", place
    )
    exam.require(
        not results,
        f"{what} has {results.total()} results without their tool call, such as {next(iter(results), '')}",
        place,
    )


def _messages(values: Mapping[str, Any], channel: str) -> list[BaseMessage]:  # Any: a state's values
    found = values.get(channel)
    return found if is_messages(found) else []


def _all(values: Iterable[object]) -> Iterable[BaseMessage]:
    return (message for value in values if is_messages(value) for message in value)


def _tokens_of(said: Mapping[str, BaseMessage], prompt: Sequence[BaseMessage]) -> int:
    """Return how many tokens of a prompt are the conversation, be it as messages or as text among other text."""
    whole = [message for message in prompt if message.id in said]
    before = _folded(" ".join(message.text for message in prompt if message.id not in said))
    rest = before
    for text in sorted({_folded(message.text) for message in said.values()}, key=len, reverse=True):
        rest = rest.replace(text, "") if len(text) >= SHORT else rest
    return count_tokens_approximately(whole) + (len(before) - len(rest)) // CHARACTERS


def _folded(text: str) -> str:
    return " ".join(text.split())


class _Calls(AsyncCallbackHandler):
    """Notes what chat models are given, and by which node."""

    run_inline = True

    def __init__(self) -> None:
        self.made: list[tuple[str, list[BaseMessage]]] = []

    async def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        node = str((metadata or {}).get("langgraph_node", ""))
        self.made += [(node, list(prompt)) for prompt in messages]
