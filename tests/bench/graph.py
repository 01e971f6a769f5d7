"""The measured graph: four nodes in a row that do nothing but return an update, so that what is left is the saver."""

import operator
from contextvars import ContextVar
from functools import cache
from time import perf_counter
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

SUPERSTEPS = 4  # a run's nodes, one a superstep

TYPICAL = 2  # kB of text in the first messages
LARGE = 50  # kB; what a checkpoint may hold at most by the standard

moments: ContextVar[list[float]] = ContextVar("moments")
"""Where the nodes of the current run note when they began, as `perf_counter()` tells it."""


class State(TypedDict, total=False):
    """A lean agent's state: messages, a list that grows, scalars. Every superstep stores the messages anew."""

    messages: Annotated[list[AnyMessage], add_messages]
    passages: Annotated[list[str], operator.add]
    question: str
    queries: list[str]
    answer: str
    verdict: str
    revisions: int
    approval: bool


async def plan(state: State) -> State:
    """Write two scalars and a short list."""
    moments.get().append(perf_counter())
    queries = ["what a crash loses", "who resumes a run"]
    return {"messages": [AIMessage("I look it up.")], "queries": queries, "verdict": "", "revisions": 0}


async def search(state: State) -> State:
    """Add to the list that grows."""
    moments.get().append(perf_counter())
    return {"messages": [AIMessage("Three passages found.")], "passages": [f"handbook.md#{n}" for n in range(3)]}


async def write(state: State) -> State:
    """Write a paragraph."""
    moments.get().append(perf_counter())
    return {"messages": [AIMessage("A draft is there.")], "answer": _text(0.4), "revisions": 1}


async def check(state: State) -> State:
    """Write a verdict."""
    moments.get().append(perf_counter())
    return {"messages": [AIMessage("It holds.")], "verdict": "approved"}


def build_graph() -> "StateGraph[State, None, State, State]":
    """Return the graph, not yet compiled."""
    graph = StateGraph(State)
    graph.add_node(plan).add_node(search).add_node(write).add_node(check)
    graph.add_edge(START, "plan").add_edge("plan", "search").add_edge("search", "write").add_edge("write", "check")
    return graph


def first_input(kilobytes: float) -> State:
    """Return a run's input: three messages of `kilobytes` in all for a small state, a message for every 2 kB else."""
    count = max(3, int(kilobytes / 2))
    kinds = (HumanMessage, AIMessage)
    messages: list[Any] = [kinds[number % 2](_text(kilobytes / count)) for number in range(count)]
    return {"messages": messages, "question": "What happens to a run when its process dies?", "approval": False}


@cache  # the load makes no text while it is measured
def _text(kilobytes: float) -> str:
    """Return about so much text that compresses as prose does."""
    return " ".join(f"word{number * 7919 % 1000:03}" for number in range(int(kilobytes * 125)))
