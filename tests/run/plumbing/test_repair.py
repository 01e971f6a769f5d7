"""A tool is cut off in the middle of its work, and the next turn is one that a provider accepts all the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from acme_agent.agent import AgentSettings
from acme_agent.agent.repair import INTERRUPTED, whole
from acme_agent.persistence import migrate, open_checkpointer, open_ledger
from acme_agent.runs import Runs
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import SecretStr


def accepted(messages: list[AnyMessage]) -> list[AnyMessage]:
    """Do as providers do: refuse a call without a result."""
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    for message in messages:
        for call in getattr(message, "tool_calls", []):
            if call["id"] not in answered:
                raise ValueError(f"400: an assistant message with tool_calls must be followed by {call['id']}")
    return messages


@pytest.mark.parametrize("repair", [whole, None], ids=["repaired", "as it is"])
async def test_turn_after_a_cancelled_tool(
    database_url: str, tmp_path: Path, repair: Callable[[list[AnyMessage]], list[AnyMessage]] | None
) -> None:
    begun = anyio.Event()

    async def model(state: MessagesState) -> dict[str, Any]:
        messages = accepted(repair(state["messages"]) if repair else state["messages"])
        if len(messages) == 1:
            return {"messages": [AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "a"}])]}
        return {"messages": [AIMessage(messages[2].text)]}

    async def tools(_state: MessagesState) -> dict[str, Any]:
        begun.set()
        await anyio.sleep_forever()
        return {}

    settings = AgentSettings(_env_file=None, database_url=SecretStr(database_url), data_dir=tmp_path, actor="tester")
    await migrate(settings.migration_url, settings=settings)
    graph: Any = StateGraph(MessagesState)
    graph.add_node("model", model)
    graph.add_node("tools", tools)
    graph.add_edge(START, "model")
    graph.add_conditional_edges(
        "model", lambda state: "tools" if state["messages"][-1].tool_calls else END, ["tools", END]
    )
    graph.add_edge("tools", "model")
    async with (
        open_checkpointer(settings.checkpoint_url, settings=settings) as saver,
        Runs(graph.compile(checkpointer=saver), settings, open_ledger(saver)) as runs,
    ):
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: runs.start({"messages": [HumanMessage("Look.")]}, thread="t"))
            await begun.wait()
            await runs.cancel("t")
        assert (await runs.status("t")).condition == "cancelled"
        again = {"messages": [HumanMessage("And?")]}
        if repair is None:
            with pytest.raises(ValueError, match="must be followed by a"):
                await runs.start(again, thread="t")
            return
        done = await runs.start(again, thread="t")
        assert done.values["messages"][-1].text == INTERRUPTED
        assert len(done.values["messages"]) == 4, "the state keeps what happened"
