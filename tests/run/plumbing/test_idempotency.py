"""Idempotency keys: the same whenever a step is executed again, another one for every other step.

What a node does to the world is a line in a file: the key, and what it is for.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

import anyio
import pytest
from acme_agent.agent import AgentSettings, migrations, new_input
from acme_agent.agent.offline_scenarios import EXAMPLES
from acme_agent.agent.outbox import notices, published
from acme_agent.effects import idempotency_key
from acme_agent.persistence import migrate, open_checkpointer, open_ledger
from acme_agent.runs import Runs, open_runs
from langgraph.func import task
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy, Send, interrupt
from pydantic import SecretStr

Open = Callable[[Any], Awaitable[Runs]]
ONCE = RetryPolicy(initial_interval=0.01, jitter=False, max_attempts=2)


class State(TypedDict, total=False):
    """A list that the nodes add to, and a number."""

    log: Annotated[list[str], add]
    turn: int


class World:
    """What has been done to the world, in order."""

    def __init__(self, file: Path) -> None:
        """Keep it in a file, which outlives a process."""
        self.file = file

    def touch(self, key: str, what: str) -> None:
        """Do something."""
        with self.file.open("a") as file:
            file.write(f"{key} {what}\n")

    def keys(self, what: str) -> list[str]:
        """Return the keys of what was done, in order."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [key for key, _, done in (line.partition(" ") for line in lines) if done == what]

    def node(self, name: str, *, fails: int = 0, **writes: Any) -> Callable[..., Awaitable[dict[str, Any]]]:
        """Return a node that touches the world, and then fails a few times."""
        failures = [ConnectionError(f"{name} fails")] * fails

        async def node(_state: State, runtime: Runtime[Any]) -> dict[str, Any]:
            self.touch(idempotency_key(runtime.execution_info, name), name)
            if failures:
                raise failures.pop()
            return {"log": [name], **writes}

        return node


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Nothing was done yet."""
    return World(tmp_path / "world.txt")


@pytest.fixture
def agent_settings(database_url: str, tmp_path: Path) -> AgentSettings:
    """Settings for the test's database, whatever a developer's .env file says."""
    return AgentSettings(
        _env_file=None, database_url=SecretStr(database_url), data_dir=tmp_path, docs=EXAMPLES, actor="tester"
    )


@pytest.fixture
async def opened(agent_settings: AgentSettings) -> AsyncIterator[Open]:
    """Return a function that opens runs of a graph, as a process of its own would."""
    await migrate(agent_settings.migration_url, settings=agent_settings)
    async with AsyncExitStack() as stack:

        async def open_(graph: Any) -> Runs:
            url = agent_settings.checkpoint_url
            saver = await stack.enter_async_context(open_checkpointer(url, settings=agent_settings))
            compiled = graph.compile(checkpointer=saver)
            return await stack.enter_async_context(Runs(compiled, agent_settings, open_ledger(saver)))

        yield open_


def row(**nodes: Any) -> Any:
    """Return a graph of nodes that follow each other."""
    graph: Any = StateGraph(State)
    graph.add_sequence(list(nodes.items()))
    graph.add_edge(START, next(iter(nodes)))
    return graph


_PROCESS = """
import asyncio, os, signal, sys
from pathlib import Path
from typing import Annotated, TypedDict
from operator import add
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from acme_agent.agent import AgentSettings
from acme_agent.effects import idempotency_key
from acme_agent.persistence import open_checkpointer, open_ledger
from acme_agent.runs import Runs

class State(TypedDict, total=False):
    turn: int

file, die_in = Path(sys.argv[1]), int(sys.argv[2])

async def work(state: State, runtime: Runtime):
    turn = state.get("turn", 0)
    with file.open("a") as written:
        written.write(f"{idempotency_key(runtime.execution_info, 'work')} turn {turn}\\n")
    if turn == die_in:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"turn": turn + 1}

async def main():
    graph = StateGraph(State).add_node("work", work).add_edge(START, "work")
    graph.add_conditional_edges("work", lambda state: "work" if state["turn"] < 3 else END, ["work", END])
    settings = AgentSettings()
    async with open_checkpointer(settings.checkpoint_url, settings=settings) as saver:
        async with Runs(graph.compile(checkpointer=saver), settings, open_ledger(saver)) as runs:
            if await runs.ledger.newest("t"):
                await runs.resume("t")
            else:
                await runs.start({"turn": 0}, thread="t")

asyncio.run(main())
"""


async def test_killed_process_s_successor_has_the_same_key_and_other_turns_another_one(
    opened: Open, agent_settings: AgentSettings, world: World
) -> None:
    environment = {"DATABASE_URL": agent_settings.checkpoint_url, "DATA_DIR": str(agent_settings.data_dir)}

    def process(die_in: int) -> int:
        command = [sys.executable, "-c", _PROCESS, str(world.file), str(die_in)]
        return subprocess.run(command, env={**os.environ, **environment}, check=False).returncode

    assert [process(turn) for turn in (0, 1, 2, -1)] == [-signal.SIGKILL] * 3 + [0]
    keys = [world.keys(f"turn {turn}") for turn in range(3)]
    assert [len(executed) for executed in keys] == [2, 2, 2]
    assert [len(set(executed)) for executed in keys] == [1, 1, 1]
    assert len({executed[0] for executed in keys}) == 3


async def test_who_takes_over_from_a_frozen_process_has_the_same_key(opened: Open, world: World) -> None:
    frozen, thaw = anyio.Event(), anyio.Event()

    def graph(*, freezes: bool) -> Any:
        touching = world.node("work")

        async def work(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
            written = await touching(state, runtime)
            if freezes:
                frozen.set()
                await thaw.wait()
            return written

        return row(work=work)

    one, other = await opened(graph(freezes=True)), await opened(graph(freezes=False))
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: one.start({"log": []}, thread="t"))
        await frozen.wait()
        [seen] = await other.ledger.line("t")
        taken = await other.ledger.take_over(seen, "successor", crash_limit=9)
        assert taken
        await other._executor.execute(taken, lambda _: None)
        thaw.set()
    assert (await other.status("t")).values == {"log": ["work"]}
    keys = world.keys("work")
    assert (len(keys), len(set(keys))) == (2, 1)


async def test_retry_has_the_same_key(opened: Open, world: World) -> None:
    """In the process, by the node's policy, and as a new attempt of the run."""
    graph: Any = StateGraph(State)
    graph.add_node("work", world.node("work", fails=3), retry_policy=ONCE)
    graph.add_edge(START, "work")
    runs = await opened(graph)
    with pytest.raises(ConnectionError):
        await runs.start({"log": []}, thread="t")
    assert (await runs.resume("t")).values == {"log": ["work"]}
    keys = world.keys("work")
    assert (len(keys), len(set(keys))) == (4, 1)


async def test_task_is_not_repeated_for_an_answer_and_has_the_node_s_key_when_it_is_retried(
    opened: Open, world: World
) -> None:
    """A task's own id is another one then: that is why the key is taken in the node."""
    failures = [ConnectionError("after the task")]
    begun = Counter[str]()

    @task
    async def tell(key: str, runtime: Runtime[Any]) -> None:
        world.touch(key, "told")
        world.touch(idempotency_key(runtime.execution_info, "tell"), "told, by the task's own id")

    async def ask(_state: State, runtime: Runtime[Any]) -> dict[str, Any]:
        begun["ask"] += 1
        await tell(idempotency_key(runtime.execution_info, "tell"))  # LangGraph adds the runtime
        if failures:
            raise failures.pop()
        return {"log": [interrupt("?")]}

    graph: Any = StateGraph(State)
    graph.add_node("ask", ask, retry_policy=ONCE)
    graph.add_edge(START, "ask")
    runs = await opened(graph)
    await runs.start({"log": []}, thread="t")
    assert (await runs.answer("t", "yes")).values == {"log": ["yes"]}
    assert begun["ask"] == 3
    told = world.keys("told")
    assert (len(told), len(set(told))) == (2, 1)
    assert len(set(world.keys("told, by the task's own id"))) == 2


async def test_branches_turns_labels_and_threads_have_keys_of_their_own(opened: Open, world: World) -> None:
    async def work(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
        for label in ("mail", "bill"):
            world.touch(idempotency_key(runtime.execution_info, label), "done")
        return {"log": ["done"]}

    graph: Any = StateGraph(State)
    graph.add_node("plan", lambda _: {})
    graph.add_node("work", work)
    graph.add_node("again", lambda state: {"turn": len(state["log"])})
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", lambda _: [Send("work", {}), Send("work", {})], ["work"])
    graph.add_edge("work", "again")
    graph.add_conditional_edges("again", lambda state: "plan" if state["turn"] < 4 else END, ["plan", END])
    runs = await opened(graph)
    for thread in ("t", "u"):
        await runs.start({"log": []}, thread=thread)
    keys = world.keys("done")
    assert len(keys) == len(set(keys)) == 2 * 2 * 2 * 2  # labels, branches, turns, threads


async def test_replay_and_fork_are_meant_to_do_it_again_and_once_each(opened: Open, world: World) -> None:
    runs = await opened(row(first=world.node("first"), work=world.node("work"), last=world.node("last", fails=1)))
    with pytest.raises(ConnectionError):
        await runs.start({"log": []}, thread="t")
    await runs.resume("t")
    [place] = [found for found in await runs.history("t") if found.next == ("work",)]
    checkpoint = place.config["configurable"]["checkpoint_id"]
    await runs.fork("t", checkpoint, to="u")
    await runs.resume("u")
    await runs.replay("t", checkpoint)
    assert [len(world.keys(name)) for name in ("first", "work", "last")] == [1, 3, 4]
    assert [len(set(world.keys(name))) for name in ("first", "work", "last")] == [1, 3, 3]


async def test_replay_that_is_gone_on_with_after_a_failure_has_the_key_of_that_replay(
    opened: Open, world: World
) -> None:
    fine = await opened(row(first=world.node("first"), work=world.node("work")))
    await fine.start({"log": []}, thread="t")
    [place] = [found for found in await fine.history("t") if found.next == ("work",)]
    failing = await opened(row(first=world.node("first"), work=world.node("work", fails=1)))
    with pytest.raises(ConnectionError):
        await failing.replay("t", place.config["configurable"]["checkpoint_id"])
    await failing.resume("t")
    original, *replayed = world.keys("work")
    assert len(replayed) == 2
    assert {original} != set(replayed)
    assert len(set(replayed)) == 1


@pytest.mark.parametrize(("stored", "keys"), [(None, 1), (False, 2)], ids=["stored", "not stored"])
async def test_sub_graph_has_keys_of_its_own_if_it_has_checkpoints(
    opened: Open, world: World, stored: bool | None, keys: int
) -> None:
    """Without checkpoints of its own the sub-graph starts anew, with new ids; the node that calls it has one key."""
    inner = row(step=world.node("step", fails=1)).compile(checkpointer=stored)

    async def outer(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
        world.touch(idempotency_key(runtime.execution_info, "outer"), "outer")
        # See agent/search.py: the run's durability is handed down to a graph that stores nothing.
        config: Any = {} if stored is None else {"configurable": {"__pregel_durability": "async"}}
        return {"log": (await inner.ainvoke({"log": []}, config))["log"]}

    runs = await opened(row(outer=outer))
    with pytest.raises(ConnectionError):
        await runs.start({"log": []}, thread="t")
    assert (await runs.resume("t")).values == {"log": ["step"]}
    assert (len(world.keys("step")), len(set(world.keys("step")))) == (2, keys)
    assert (len(world.keys("outer")), len(set(world.keys("outer")))) == (2, 1)


async def test_migration_in_between_keeps_the_key(opened: Open, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """See `compatibility`: the step goes on, on other code."""
    runs = await opened(row(work=world.node("work", fails=1)))
    with pytest.raises(ConnectionError):
        await runs.start({"log": [], "turn": 1}, thread="t")
    monkeypatch.setattr(migrations, "STATE", {1: lambda state: {"turn": -state["turn"]} if "turn" in state else {}})
    newer = await opened(row(work=world.node("work")))
    assert (await newer.resume("t")).values == {"log": ["work"], "turn": -1}
    keys = world.keys("work")
    assert (len(keys), len(set(keys))) == (2, 1)


async def test_the_example_tells_the_approver_once_and_publishes_once(agent_settings: AgentSettings) -> None:
    await migrate(agent_settings.migration_url, settings=agent_settings)
    async with open_runs(agent_settings) as runs:
        await runs.start(new_input("How long is the loan period?", approval=True), thread="t")
        await runs.answer("t", "Say it otherwise.")
        assert len(notices(agent_settings.data_dir)) == 2
        done = await runs.answer("t", "yes")
    assert done.condition == "done"
    assert notices(agent_settings.data_dir) == ["Please approve: How long is the loan period?"] * 2
    assert published(agent_settings.data_dir) == [done.values["answer"]]
