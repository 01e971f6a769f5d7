"""A door of another team: a tool-calling loop whose tools run in parallel, with a cap in the state."""

import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage, ToolMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.runtime import Runtime
from langgraph.types import Overwrite, Send

from ..scenario import Scenario
from ..settings import Settings

MAX_CALLS = 4  # times that the model may ask for tools in a turn
KEEP = 6  # messages that stay when the conversation is cut

checkpoint_types: tuple[type, ...] = ()


class AgentSettings(Settings):
    """Which replies the scripted model gives."""

    script: str = "two-rounds"


class State(TypedDict, total=False):
    """The conversation, and how often tools were asked for."""

    messages: Annotated[list[AnyMessage], add_messages]
    calls: int
    costs: Annotated[list[float], operator.add]


class Call(TypedDict):
    """What one branch gets."""

    call: dict[str, Any]


async def shorten(state: State) -> State:
    """Keep the newest messages, from a human one on."""
    messages = state["messages"]
    if len(messages) <= 3 * KEEP:
        return {"calls": 0}
    newest = messages[-KEEP:]
    while newest and not isinstance(newest[0], HumanMessage):
        newest = newest[1:]
    kept = newest or [messages[-1]]
    return {"calls": 0, "messages": [RemoveMessage(REMOVE_ALL_MESSAGES), HumanMessage("[Summary] cut"), *kept]}


async def model(state: State, runtime: Runtime[AgentSettings]) -> State:
    """Ask for two tools at once, as often as the script says, then answer."""
    script = runtime.context.script
    rounds = {"two-rounds": 2, "straight": 0}.get(script, 99)
    if state["calls"] < rounds:
        made = len(state["messages"])
        calls = [
            {"name": name, "args": {"city": "Bern"}, "id": f"{name}-{made}", "type": "tool_call"}
            for name in ("weather", "time")
        ]
        return {"messages": [AIMessage("", tool_calls=calls)], "calls": state["calls"] + 1}
    return {"messages": [AIMessage(f"It is sunny after {state['calls']} rounds.")]}


def route(state: State) -> list[Send] | str:
    """Send each tool call to a branch of its own, until the cap is reached."""
    calls = _asked(state)
    if not calls:
        return END
    if state["calls"] > MAX_CALLS:
        return "give_up"
    return [Send("tool", {"call": call}) for call in calls]


def _asked(state: State) -> list[Any]:
    last = state["messages"][-1]
    return list(last.tool_calls) if isinstance(last, AIMessage) else []


async def give_up(state: State) -> State:
    """Tell the model's calls that nobody makes them, and stop."""
    unmade = [ToolMessage("not called", tool_call_id=call["id"]) for call in _asked(state)]
    return {"messages": [*unmade, AIMessage("I have asked often enough.")]}


async def tool(state: Call) -> State:
    """Answer one call."""
    call = state["call"]
    return {"messages": [ToolMessage(f"{call['name']}: fine", tool_call_id=call["id"])], "costs": [0.5]}


def build_graph() -> StateGraph[State, AgentSettings, State, State]:
    """Return the loop."""
    graph = StateGraph(State, context_schema=AgentSettings)
    graph.add_node("shorten", shorten)
    graph.add_node("model", model)
    graph.add_node("tool", tool, input_schema=Call)
    graph.add_node("give_up", give_up)
    graph.add_edge(START, "shorten")
    graph.add_edge("shorten", "model")
    graph.add_conditional_edges("model", route, ["tool", "give_up", END])
    graph.add_edge("tool", "model")
    graph.add_edge("give_up", END)
    return graph


def new_input(question: str, *, approval: bool = False) -> dict[str, Any]:
    """Return the input for a question."""
    del approval
    return {"messages": [HumanMessage(question)], "costs": Overwrite([])}


def check(settings: AgentSettings) -> None:
    """Nothing can be wrong."""


def scenarios() -> list[Scenario]:
    """Return a straight turn, one with tools, one that never stops by itself, and a long conversation."""
    talk: list[AnyMessage] = []
    for number in range(30):
        call = {"name": "time", "args": {}, "id": f"old-{number}", "type": "tool_call"}
        talk += [
            HumanMessage(f"What time is it in city {number}? " + "I have to know it. " * 8, id=f"h{number}"),
            AIMessage("", tool_calls=[call], id=f"c{number}"),
            ToolMessage("noon", tool_call_id=f"old-{number}", id=f"t{number}"),
            AIMessage("It is noon there. " * 8, id=f"a{number}"),
        ]
    return [
        Scenario(name="straight", input=new_input("Hello?"), settings={"script": "straight"}, expected={"calls": 0}),
        Scenario(name="two-rounds", input=new_input("The weather?"), settings={"script": "two-rounds"}),
        Scenario(
            name="never enough",
            input=new_input("All of it?"),
            settings={"script": "never enough"},
            expected={"calls": MAX_CALLS + 1},
        ),
        Scenario(
            name="long talk",
            input={**new_input("And now?"), "messages": [*talk, HumanMessage("And now?")]},
            settings={"script": "straight"},
        ),
    ]
