"""What is remembered of a long conversation: a summary and the newest messages."""

from typing import cast

from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, RemoveMessage
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.runtime import Runtime

from . import prompts
from .model import count_tokens, load_model, settings_of
from .repair import whole
from .settings import AgentSettings
from .state import State

SUMMARIZE_AT = 3000  # tokens; above this the older messages become a summary
KEEP = 1000  # tokens of the newest messages that stay as they are


async def route_turn(state: State, runtime: Runtime[AgentSettings]) -> str:
    """Begin the turn with `summarize` when the conversation has grown too long, else with `plan`."""
    messages = state["messages"]
    if await count_tokens(load_model(settings_of(runtime).model), messages) <= SUMMARIZE_AT:
        return "plan"
    return "summarize" if await _newest(messages, runtime) != messages else "plan"


async def summarize(state: State, runtime: Runtime[AgentSettings]) -> State:
    """Replace the older messages by a summary. The full text stays in the thread's earlier checkpoints, while kept."""
    newest = await _newest(state["messages"], runtime)
    older = state["messages"][: len(state["messages"]) - len(newest)]
    model = load_model(settings_of(runtime).model)
    summary = await model.ainvoke(prompts.summarize(transcript(whole(older))))
    # REMOVE_ALL_MESSAGES first: add_messages would append the summary behind the messages that it replaces.
    update = [RemoveMessage(REMOVE_ALL_MESSAGES), HumanMessage(f"[Summary] {summary.text}"), *newest]
    return {"messages": cast("list[AnyMessage]", update)}  # RemoveMessage is for the reducer and never in the state


async def _newest(messages: list[AnyMessage], runtime: Runtime[AgentSettings]) -> list[AnyMessage]:
    """Return the newest messages within KEEP tokens, and at least the last human message and what follows it.

    The cut is at a human message: a tool's result is never parted from the call that it answers.
    """
    model = load_model(settings_of(runtime).model)
    starts = [at for at, message in enumerate(messages) if isinstance(message, HumanMessage)]
    newest = messages[starts[-1] :] if starts else messages
    for start in reversed(starts[:-1]):
        if await count_tokens(model, messages[start:]) > KEEP:
            break
        newest = messages[start:]
    return newest


def transcript(messages: list[AnyMessage]) -> str:
    """Return the messages as lines of `role: text`."""
    return "\n".join(f"{_role(message)}: {' '.join(message.text.split())}" for message in messages if message.text)


def _role(message: BaseMessage) -> str:
    return {"human": "User", "ai": "Assistant", "tool": "Tool"}.get(message.type, message.type)
