"""The ends of a run: approved by a person, delivered, not found, given up, failed."""

import asyncio
import logging
from pathlib import Path
from typing import Literal

from langchain_core.messages import AIMessage
from langgraph.errors import NodeError
from langgraph.func import task
from langgraph.runtime import Runtime
from langgraph.types import Command, interrupt

from ..effects import idempotency_key
from ..settings import redact
from .model import settings_of
from .outbox import notify, publish
from .prompts import NO_ANSWER
from .routing import MAX_REVISIONS
from .settings import AgentSettings
from .state import State

logger = logging.getLogger(__name__)

LONGEST_ERROR = 500  # characters of an error's text that the state keeps


@task
async def tell_approver(data_dir: Path, key: str, text: str) -> None:
    """Tell whoever approves that there is something to approve."""
    await asyncio.to_thread(notify, data_dir, key, text)


async def approve(state: State, runtime: Runtime[AgentSettings]) -> State:
    """Tell a person, and ask. 'yes' delivers, 'no' ends the run, any other text sends the draft back with it."""
    # The node starts again from its first line when the answer comes, and so does all that stands before interrupt().
    # A @task that has ended is not executed again then. It is, if it had not been stored when a process died, or if the
    # node itself is tried again; so it needs a key as well. The key is the node's: a task's own id is another one when
    # the node is tried again.
    key = idempotency_key(runtime.execution_info, "tell approver")
    await tell_approver(settings_of(runtime).data_dir, key, f"Please approve: {state['question']}")
    reply = interrupt(
        {"question": state["question"], "answer": state["answer"], "citations": state["citations"]},
        response_schema={"type": "string", "minLength": 1},
    )
    match str(reply).strip().lower():
        case "yes" | "y":
            return {"verdict": "approved"}
        case "no" | "n":
            return {"verdict": "rejected", "messages": [AIMessage("The answer was refused and not delivered.")]}
        case _:
            return {"verdict": "revise", "feedback": str(reply).strip()}


async def deliver(state: State, runtime: Runtime[AgentSettings]) -> State:
    """Publish the answer. The effect carries a key, so a crash right after it cannot double it."""
    key = idempotency_key(runtime.execution_info, "publish")
    await asyncio.to_thread(publish, settings_of(runtime).data_dir, key, state["question"], state["answer"])
    return {"messages": [AIMessage(state["answer"])]}


async def not_found(state: State) -> State:
    """Say that the documents have no answer; a guess would be worse."""
    return {"verdict": "not_found", "answer": NO_ANSWER, "citations": [], "messages": [AIMessage(NO_ANSWER)]}


async def give_up(state: State) -> State:
    """Hand over to a person: the draft was sent back as often as the cap allows."""
    failure = f"not approved after {MAX_REVISIONS} revisions; last wish: {state.get('feedback', '')}"
    return {"verdict": "escalate", "failure": failure, "messages": [AIMessage(f"I could not finish this: {failure}")]}


async def failed(state: State, error: NodeError) -> Command[Literal["__end__"]]:
    """End the run in a state that names the node and the error, once its retries are used up."""
    logger.error("node %s failed for good", error.node, exc_info=error.error)
    failure = redact(f"{error.node}: {type(error.error).__name__}: {error.error}")[:LONGEST_ERROR]
    return Command(update={"failure": " ".join(failure.split())}, goto="__end__")
