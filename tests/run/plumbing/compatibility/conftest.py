"""What the tests of old threads on new code share: states, nodes and graphs of two releases."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from acme_agent.agent import AgentSettings, migrations
from acme_agent.persistence import migrate, open_checkpointer, open_ledger
from acme_agent.runs import Runs, ThreadStatus
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from pydantic import SecretStr

Built = Any  # a StateGraph of whatever state
Open = Callable[..., Awaitable[Runs]]


class Text(TypedDict, total=False):
    """The state, as the older release has it."""

    log: Annotated[list[str], add]
    topic: str


class Texts(TypedDict, total=False):
    """The state, as the newer release has it: the topic has become a list, and there is another key."""

    log: Annotated[list[str], add]
    topic: Annotated[list[str], add]
    depth: int


def listed(state: dict[str, Any]) -> dict[str, Any]:
    """Bring Text to Texts."""
    return {"topic": [state["topic"]]} if "topic" in state else {}


@pytest.fixture
def agent_settings(database_url: str, tmp_path: Path) -> AgentSettings:
    """Settings for the test's database, whatever a developer's .env file says."""
    return AgentSettings(_env_file=None, database_url=SecretStr(database_url), data_dir=tmp_path, actor="tester")


@pytest.fixture
async def opened(agent_settings: AgentSettings) -> AsyncIterator[Open]:
    """Return a function that opens runs of a graph, as a process of a release would."""
    await migrate(agent_settings.migration_url, settings=agent_settings)
    async with AsyncExitStack() as stack:

        async def open_(graph: Built) -> Runs:
            url = agent_settings.checkpoint_url
            saver = await stack.enter_async_context(open_checkpointer(url, settings=agent_settings))
            compiled = graph.compile(checkpointer=saver)
            return await stack.enter_async_context(Runs(compiled, agent_settings, open_ledger(saver)))

        yield open_


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that registers what a release has renamed and migrated."""

    def register(*, renamed: dict[str, str] | None = None, state: dict[int, Any] | None = None) -> None:
        monkeypatch.setattr(migrations, "RENAMED", renamed or {})
        monkeypatch.setattr(migrations, "STATE", state or {})

    return register


class Nodes:
    """Nodes that write their name, and count how often they were begun; those in `failing` fail, once each."""

    def __init__(self) -> None:
        """Nobody has begun."""
        self.begun: Counter[str] = Counter()
        self.failing: set[str] = set()

    def __call__(self, name: str, **writes: Any) -> Callable[[Any], Awaitable[dict[str, Any]]]:
        """Return a node that writes its name, and more."""

        async def node(_state: Any) -> dict[str, Any]:
            self.begun[name] += 1
            if name in self.failing:
                self.failing.remove(name)
                raise RuntimeError(f"{name} fails")
            return {"log": [name], **writes}

        return node

    def asking(self, name: str) -> Callable[[Any], Awaitable[dict[str, Any]]]:
        """Return a node that asks, and writes the answer."""

        async def node(_state: Any) -> dict[str, Any]:
            self.begun[name] += 1
            return {"log": [f"{name}: {interrupt({'who': name})}"]}

        return node


def row(state: type, **nodes: Any) -> Built:
    """Return a graph of nodes that follow each other."""
    graph: Built = StateGraph(state)
    graph.add_sequence(list(nodes.items()))
    graph.add_edge(START, next(iter(nodes)))
    return graph


async def migrated(runs: Runs, thread: str = "t") -> list[str]:
    """Return the audit's lines about migrations, oldest first."""
    return [entry.detail for entry in reversed(await runs.ledger.audit(thread)) if entry.kind == "migrated"]


def log(status: ThreadStatus) -> list[str]:
    """Return what the nodes have written."""
    written: list[str] = status.values["log"]
    return written
