"""A door of another team: an order that two people approve, days apart, and that is placed once."""

import asyncio
from pathlib import Path
from typing import Any, Literal, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from ..effects import idempotency_key
from ..scenario import Scenario
from ..settings import Settings

checkpoint_types: tuple[type, ...] = ()

ANSWER = {"type": "string", "enum": ["yes", "no"]}


class AgentSettings(Settings):
    """None of our own."""


class State(TypedDict, total=False):
    """An order, and who has agreed."""

    order: str
    manager: Literal["", "yes", "no"]
    finance: Literal["", "yes", "no"]
    placed: bool


async def manager(state: State) -> State:
    """Ask the manager."""
    return {"manager": interrupt({"approve": state["order"], "who": "manager"}, response_schema=ANSWER)}


async def finance(state: State) -> State:
    """Ask who pays for it."""
    return {"finance": interrupt({"approve": state["order"], "who": "finance"}, response_schema=ANSWER)}


async def place(state: State, runtime: Runtime[AgentSettings]) -> State:
    """Place the order, under a key: a second call with it changes nothing."""
    key = idempotency_key(runtime.execution_info, "place")
    await asyncio.to_thread(_place, runtime.context.data_dir / "orders", key, state["order"])
    return {"placed": True}


def _place(folder: Path, key: str, order: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / key).write_text(order)


def _placed(settings: AgentSettings) -> list[str]:
    return sorted(file.read_text() for file in (settings.data_dir / "orders").glob("*"))


def build_graph() -> StateGraph[State, AgentSettings, State, State]:
    """Return the workflow."""
    graph = StateGraph(State, context_schema=AgentSettings)
    graph.add_node("manager", manager)
    graph.add_node("finance", finance)
    graph.add_node("place", place)
    graph.add_edge(START, "manager")
    graph.add_conditional_edges("manager", lambda state: "finance" if state["manager"] == "yes" else END)
    graph.add_conditional_edges("finance", lambda state: "place" if state["finance"] == "yes" else END)
    graph.add_edge("place", END)
    return graph


def new_input(question: str, *, approval: bool = False) -> dict[str, Any]:
    """Return the input for an order."""
    del approval
    return {"order": question, "manager": "", "finance": "", "placed": False}


def check(settings: AgentSettings) -> None:
    """Nothing can be wrong."""


def scenarios() -> list[Scenario]:
    """Return one that is agreed to, one that the manager refuses, and one that finance refuses."""
    order = new_input("twelve chairs")
    return [
        Scenario(name="agreed", input=order, answers=("yes", "yes"), expected={"placed": True}, effects=_placed),
        Scenario(name="refused", input=order, answers=("no",), expected={"placed": False}, effects=_placed),
        Scenario(name="too dear", input=order, answers=("yes", "no"), expected={"placed": False}, effects=_placed),
    ]
