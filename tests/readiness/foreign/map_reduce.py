"""A door of another team: a map-reduce with `Send`, its branches a sub-graph. No messages, no loop, no question."""

import operator
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Overwrite, Send

from ..scenario import Scenario
from ..settings import Settings

checkpoint_types: tuple[type, ...] = ()


class AgentSettings(Settings):
    """None of our own."""


class State(TypedDict, total=False):
    """Pages to be counted, and what was counted."""

    pages: list[str]
    counts: Annotated[list[dict[str, int]], operator.add]
    total: int


class Page(TypedDict, total=False):
    """What a branch works on."""

    page: str
    words: list[str]
    counts: Annotated[list[dict[str, int]], operator.add]


class Counts(TypedDict):
    """What a branch gives back."""

    counts: Annotated[list[dict[str, int]], operator.add]


async def split(state: Page) -> Page:
    """Take a page apart."""
    return {"words": state["page"].split()}


async def count(state: Page) -> Page:
    """Count its words."""
    return {"counts": [{state["page"][:10]: len(state["words"])}]}


async def plan(state: State) -> State:
    """Begin anew."""
    return {"total": 0}


def fan_out(state: State) -> list[Send] | str:
    """A branch a page."""
    return [Send("page", {"page": page}) for page in state["pages"]] or "add"


async def add(state: State) -> State:
    """Add up."""
    return {"total": sum(number for counted in state.get("counts", []) for number in counted.values())}


def build_graph() -> StateGraph[State, AgentSettings, State, State]:
    """Return the graph with its sub-graph."""
    page = StateGraph(Page, output_schema=Counts)
    page.add_node("split", split)
    page.add_node("count", count)
    page.add_edge(START, "split")
    page.add_edge("split", "count")
    page.add_edge("count", END)
    graph = StateGraph(State, context_schema=AgentSettings)
    graph.add_node("plan", plan)
    graph.add_node("page", page.compile())
    graph.add_node("add", add)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", fan_out, ["page", "add"])
    graph.add_edge("page", "add")
    graph.add_edge("add", END)
    return graph


def new_input(question: str, *, approval: bool = False) -> dict[str, Any]:
    """Return the input: a page a sentence."""
    del approval
    return {"pages": [page for page in question.split(".") if page.strip()], "counts": Overwrite([])}


def check(settings: AgentSettings) -> None:
    """Nothing can be wrong."""


def scenarios() -> list[Scenario]:
    """Return one with pages, and one without."""
    return [
        Scenario(name="three pages", input=new_input("one two. three. four five six."), expected={"total": 6}),
        Scenario(name="no pages", input=new_input(""), expected={"total": 0}),
    ]
