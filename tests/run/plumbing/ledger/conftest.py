"""What the ledger's tests share: the ledger on each backend, and runs of small graphs over it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from acme_agent.agent import AgentSettings
from acme_agent.persistence import Ledger, migrate, open_checkpointer, open_ledger
from acme_agent.runs import Runs
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from pydantic import SecretStr


class State(TypedDict, total=False):
    """A list that the nodes add to."""

    log: Annotated[list[str], add]


Node = Callable[[State], Awaitable[dict[str, Any]]]  # Any: values of the state


@pytest.fixture
def agent_settings(database_url: str, tmp_path: Path) -> AgentSettings:
    """Settings for the test's database, whatever a developer's .env file says."""
    return AgentSettings(_env_file=None, database_url=SecretStr(database_url), data_dir=tmp_path, actor="tester")


@pytest.fixture
async def opened(agent_settings: AgentSettings) -> AsyncIterator[Callable[..., Awaitable[Runs]]]:
    """Return a function that opens runs of a graph of nodes in a row, as a process of its own would."""
    await migrate(agent_settings.migration_url, settings=agent_settings)
    async with AsyncExitStack() as stack:

        async def open_(**nodes: Node) -> Runs:
            url = agent_settings.checkpoint_url
            saver = await stack.enter_async_context(open_checkpointer(url, settings=agent_settings))
            graph: Any = StateGraph(State)  # Any: a graph of another state than the agent's
            before = START
            for name, node in nodes.items():
                graph.add_node(name, node)
                graph.add_edge(before, name)
                before = name
            compiled = graph.compile(checkpointer=saver)
            return await stack.enter_async_context(Runs(compiled, agent_settings, open_ledger(saver)))

        yield open_


@pytest.fixture
async def ledger(agent_settings: AgentSettings) -> AsyncIterator[Ledger]:
    """The ledger alone."""
    await migrate(agent_settings.migration_url, settings=agent_settings)
    async with open_checkpointer(agent_settings.checkpoint_url, settings=agent_settings) as saver:
        yield open_ledger(saver)


class Steps:
    """Nodes that write their name; they count how often they were begun, and one may be held up."""

    def __init__(self) -> None:
        """Hold up nobody."""
        self.begun: Counter[str] = Counter()
        self.at: dict[str, asyncio.Event] = {}
        self.go: dict[str, asyncio.Event] = {}
        self._waiting: dict[str, asyncio.Event] = {}

    def hold(self, name: str) -> asyncio.Event:
        """Let the node wait until it is told to go on; return what tells that it has begun."""
        self.go[name] = asyncio.Event()
        return self.at.setdefault(name, asyncio.Event())

    def release(self, name: str) -> None:
        """Let the node go on, now and from now on."""
        event = self.go.pop(name, None) or self._waiting[name]
        event.set()

    def nodes(self, *names: str) -> dict[str, Node]:
        """Return the nodes."""
        return {name: self._node(name) for name in names}

    def _node(self, name: str) -> Node:
        async def node(_state: State) -> dict[str, Any]:
            self.begun[name] += 1
            self.at.setdefault(name, asyncio.Event()).set()
            if name in self.go:
                self._waiting[name] = self.go[name]
                await self._waiting[name].wait()
            return {"log": [name]}

        return node


async def ask_twice(_state: State) -> dict[str, Any]:
    """Ask two questions, one after the other."""
    first = interrupt({"what": "first"}, response_schema={"type": "string", "minLength": 1})
    second = interrupt({"what": "second"})
    return {"log": [f"{first}/{second}"]}
