"""Old threads on new code: each thread here is left by an older graph and gone on with by a newer one."""

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

import pytest
from acme_agent.agent import AgentSettings, migrations
from acme_agent.persistence import LeaseLost, migrate, open_checkpointer, open_ledger
from acme_agent.runs import Incompatible, Runs, ThreadStatus
from acme_agent.runs.compatibility import go_on_from
from acme_agent.runs.config import graph_version
from langgraph.graph import END, START, StateGraph
from langgraph.types import Overwrite, Send, interrupt
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


async def test_renamed_node_asks_again_under_its_new_name(opened: Open, release: Callable[..., None]) -> None:
    nodes = Nodes()
    old = await opened(row(Text, a=nodes("a"), ask=nodes.asking("ask"), b=nodes("b")))
    [first] = (await old.start({"log": []}, thread="t")).questions
    release(renamed={"ask": "approve"})
    new = await opened(row(Text, a=nodes("a"), approve=nodes.asking("approve"), b=nodes("b")))
    status = await new.answer("t", "to the old one")
    [second] = status.questions
    assert (second.node, second.payload) == ("approve", {"who": "approve"})
    assert {question.question_id: question.state for question in await new.ledger.questions(first.run_id)} == {
        first.question_id: "withdrawn",
        second.question_id: "open",
    }
    done = await new.answer("t", "yes")
    assert (done.condition, log(done)) == ("done", ["a", "approve: yes", "b"])
    assert nodes.begun == {"a": 1, "ask": 1, "approve": 2, "b": 1}
    [line] = await migrated(new)
    assert line.endswith(": node ask is now approve")


async def test_renamed_twice_since_goes_on_at_the_last_name(opened: Open, release: Callable[..., None]) -> None:
    nodes = Nodes()
    old = await opened(row(Text, ask=nodes.asking("ask")))
    await old.start({"log": []}, thread="t")
    release(renamed={"ask": "check", "check": "approve"})
    new = await opened(row(Text, approve=nodes.asking("approve")))
    await new.answer("t", "to the old one")
    assert log(await new.answer("t", "yes")) == ["approve: yes"]


async def test_removed_node_is_an_error_until_somebody_decides(opened: Open, release: Callable[..., None]) -> None:
    """The recipe of the error's text is followed to the letter."""
    nodes = Nodes()
    old = await opened(row(Text, a=nodes("a"), ask=nodes.asking("ask"), b=nodes("b")))
    await old.start({"log": []}, thread="t")
    new = await opened(row(Text, a=nodes("a"), b=nodes("b")))
    with pytest.raises(Incompatible, match=r"stops at 'ask', .*it has a, b.* as_node=\"<that node>\".*resume t"):
        await new.answer("t", "yes")
    status = await new.status("t")
    assert (status.condition, status.next, log(status)) == ("failed", (), ["a"])
    assert "'ask'" in status.error
    with pytest.raises(Incompatible, match="'ask'"):
        await new.resume("t")
    await new._graph.aupdate_state({"configurable": {"thread_id": "t"}}, None, as_node="a")
    done = await new.resume("t")
    assert (done.condition, log(done)) == ("done", ["a", "b"])
    assert await migrated(new) == []


async def test_removed_node_is_an_error_for_a_thread_that_is_not_in_the_ledger(opened: Open) -> None:
    """As one is that was stopped between two nodes, archived and restored."""
    nodes = Nodes()

    async def stop(state: Any) -> dict[str, Any]:
        old.keeper.drain("shutdown")
        return await nodes("a")(state)

    old = await opened(row(Text, a=stop, gone=nodes("gone"), b=nodes("b")))
    assert (await old.start({"log": []}, thread="t")).next == ("gone",)
    await old.cancel("t")
    await old.ledger.forget("t")
    new = await opened(row(Text, a=nodes("a"), b=nodes("b")))
    with pytest.raises(Incompatible, match="stops at 'gone'"):
        await new.resume("t")


async def test_failed_for_a_renamed_node_goes_on_once_it_is_registered(
    opened: Open, release: Callable[..., None]
) -> None:
    nodes = Nodes()
    old = await opened(row(Text, ask=nodes.asking("ask"), b=nodes("b")))
    await old.start({"log": []}, thread="t")
    new = await opened(row(Text, approve=nodes.asking("approve"), b=nodes("b")))
    with pytest.raises(Incompatible, match="RENAMED"):
        await new.answer("t", "yes")
    release(renamed={"ask": "approve"})
    assert (await new.resume("t")).questions[0].node == "approve"
    assert log(await new.answer("t", "yes")) == ["approve: yes", "b"]


async def test_by_hand_replay_as_the_node_before_goes_on(opened: Open) -> None:
    nodes = Nodes()
    old = await opened(row(Text, a=nodes("a"), gone=nodes("gone"), b=nodes("b")))
    nodes.failing.add("gone")
    with pytest.raises(RuntimeError):
        await old.start({"log": []}, thread="t")
    new = await opened(row(Text, a=nodes("a"), b=nodes("b")))
    [head] = await new.history("t", limit=1)
    place = head.config["configurable"]["checkpoint_id"]
    with pytest.raises(Incompatible, match="'gone'"):
        await new.replay("t", place)
    assert log(await new.replay("t", place, {}, as_node="a")) == ["a", "b"]


async def test_inserted_node_is_for_those_who_come_later(opened: Open) -> None:
    nodes = Nodes()
    old = await opened(row(Text, a=nodes("a"), ask=nodes.asking("ask")))
    await old.start({"log": []}, thread="t")
    new = await opened(row(Text, a=nodes("a"), between=nodes("between"), ask=nodes.asking("ask"), b=nodes("b")))
    assert log(await new.answer("t", "yes")) == ["a", "ask: yes", "b"]
    await new.start({"log": []}, thread="u")
    assert log(await new.answer("u", "yes")) == ["a", "between", "ask: yes", "b"]


async def test_removed_key_is_dropped_and_added_key_is_missing(opened: Open) -> None:
    class Less(TypedDict, total=False):
        log: Annotated[list[str], add]
        depth: int

    async def depth(state: Less) -> dict[str, Any]:
        return {"depth": state.get("depth", 0) + 1}

    nodes = Nodes()
    old = await opened(row(Text, ask=nodes.asking("ask"), b=nodes("b")))
    await old.start({"log": [], "topic": "x"}, thread="t")
    new = await opened(row(Less, ask=nodes.asking("ask"), b=depth))
    assert dict((await new.answer("t", "yes")).values) == {"log": ["ask: yes"], "depth": 1}


async def test_key_that_becomes_a_list_is_migrated_once_and_its_question_stays(
    opened: Open, release: Callable[..., None]
) -> None:
    nodes = Nodes()
    old = await opened(row(Text, ask=nodes.asking("ask"), more=nodes.asking("more")))
    [asked] = (await old.start({"log": [], "topic": "x"}, thread="t")).questions
    release(state={1: listed, 2: lambda state: {"depth": len(state["topic"])} if "topic" in state else {}})
    new = await opened(row(Texts, ask=nodes.asking("ask"), more=nodes.asking("more"), last=nodes("last", topic=["y"])))
    second = await new.answer("t", "yes", question=asked.question_id)
    assert (second.values["topic"], second.values["depth"]) == (["x"], 1)
    assert nodes.begun == {"ask": 2, "more": 1}
    done = await new.answer("t", "yes")
    assert (done.values["topic"], log(done)) == (["x", "y"], ["ask: yes", "more: yes", "last"])
    [line] = await migrated(new)
    assert line.endswith(": state 0 -> 2 (depth, topic)")
    again = await new.start({"topic": ["z"]}, thread="t")
    assert again.values["topic"] == ["x", "y", "z"]
    assert len(await migrated(new)) == 1


async def test_new_input_finds_the_thread_migrated(opened: Open, release: Callable[..., None]) -> None:
    nodes = Nodes()
    old = await opened(row(Text, a=nodes("a")))
    await old.start({"log": [], "topic": "x"}, thread="t")
    release(state={1: listed})
    new = await opened(row(Texts, a=nodes("a")))
    assert (await new.start({"topic": ["y"]}, thread="t")).values["topic"] == ["x", "y"]
    assert (await new.start({"topic": ["z"]}, thread="t")).values["topic"] == ["x", "y", "z"]
    assert len(await migrated(new)) == 1


@pytest.mark.parametrize("wrapped", [False, True])
async def test_input_that_the_older_release_accepted_is_migrated(
    opened: Open, release: Callable[..., None], *, wrapped: bool
) -> None:
    nodes = Nodes()
    old = await opened(row(Text, a=nodes("a")))
    await old.start({"log": [], "topic": "w"}, thread="t")
    given: Any = Overwrite("x") if wrapped else "x"
    queued = await old.start({"log": [], "topic": given}, thread="t", queue=True)
    release(state={1: listed})
    new = await opened(row(Texts, a=nodes("a")))
    executed = await new.execute(queued.run_id)
    assert executed
    assert executed.status == "done"
    assert (await new.status("t")).values["topic"] == (["x"] if wrapped else ["w", "x"])


async def test_input_that_was_stored_and_not_begun_is_migrated(
    opened: Open, release: Callable[..., None], agent_settings: AgentSettings
) -> None:
    """The process dies between the checkpoint of the input and the first node: the input stands in a channel."""
    nodes = Nodes()
    old = await opened(row(Text, a=nodes("a")))
    await old.start({"log": [], "topic": "x"}, thread="t")
    first = (await old.history("t", limit=9))[-1].config["configurable"]["checkpoint_id"]
    await old.fork("t", first, to="u")
    release(state={1: listed})
    new = await opened(row(Texts, a=nodes("a")))
    assert (await new.resume("u")).values == {"log": ["a"], "topic": ["x"]}


def fanned_out(nodes: Nodes, target: str) -> Built:
    graph: Built = StateGraph(Text)
    graph.add_node("plan", nodes("plan"))
    graph.add_node(target, nodes(target))
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", lambda _: [Send(target, {"topic": part}) for part in "xyz"], [target])
    return graph


async def test_sends_to_a_renamed_node_arrive(opened: Open, release: Callable[..., None]) -> None:
    nodes = Nodes()
    nodes.failing.add("search")
    with pytest.raises(RuntimeError):
        await (await opened(fanned_out(nodes, "search"))).start({"log": []}, thread="t")
    new = await opened(fanned_out(nodes, "look"))
    with pytest.raises(Incompatible, match="stops at 'search'"):
        await new.resume("t")
    release(renamed={"search": "look"})
    assert log(await new.resume("t")) == ["plan", "look", "look", "look"]


def joined(nodes: Nodes, first: str, second: str, end: str) -> Built:
    """Return a graph in which `second` comes a step later than `first`, and `end` waits for both."""
    graph: Built = StateGraph(Text)
    for name in (first, "before", second, end):
        graph.add_node(name, nodes(name))
    graph.add_edge(START, first)
    graph.add_edge(START, "before")
    graph.add_edge("before", second)
    graph.add_edge([first, second], end)
    return graph


@pytest.mark.parametrize("names", [("one", "b", "end"), ("a", "b", "last"), ("one", "two", "last")])
async def test_join_that_waits_keeps_who_has_arrived(
    opened: Open, release: Callable[..., None], names: tuple[str, str, str]
) -> None:
    nodes = Nodes()
    nodes.failing.add("b")
    with pytest.raises(RuntimeError):
        await (await opened(joined(nodes, "a", "b", "end"))).start({"log": []}, thread="t")
    new = await opened(joined(nodes, *names))
    with pytest.raises(Incompatible, match="stops at"):
        await new.resume("t")
    release(renamed={was: now for was, now in zip(("a", "b", "end"), names, strict=True) if was != now})
    done = await new.resume("t")
    assert (done.condition, sorted(log(done))) == ("done", sorted(["a", "before", *names[1:]]))


async def test_join_of_others_is_an_error(opened: Open) -> None:
    """All the nodes are there, and yet nobody would remember that one of them has arrived."""
    nodes = Nodes()
    nodes.failing.add("b")
    with pytest.raises(RuntimeError):
        await (await opened(joined(nodes, "a", "b", "end"))).start({"log": []}, thread="t")
    graph = joined(nodes, "a", "b", "end")
    graph.waiting_edges = {(("a", "b", "before"), "end")}
    with pytest.raises(Incompatible, match=r"stops at 'a \+ b -> end'"):
        await (await opened(graph)).resume("t")


def side_by_side(nodes: Nodes, state: type, following: str, **writes: Any) -> Built:
    """Return a graph in which `quick` and `slow` work in the same step, and `following` comes after `quick`."""
    graph: Built = StateGraph(state)
    graph.add_node("quick", nodes("quick", **writes))
    graph.add_node("slow", nodes("slow"))
    graph.add_node(following, nodes(following))
    graph.add_edge(START, "quick")
    graph.add_edge(START, "slow")
    graph.add_edge("quick", following)
    return graph


async def test_finished_node_that_named_a_renamed_one_does_not_work_again(
    opened: Open, release: Callable[..., None]
) -> None:
    nodes = Nodes()
    nodes.failing.add("slow")
    with pytest.raises(RuntimeError):
        await (await opened(side_by_side(nodes, Text, "check"))).start({"log": []}, thread="t")
    assert nodes.begun == {"quick": 1, "slow": 1}
    new = await opened(side_by_side(nodes, Text, "review"))
    with pytest.raises(Incompatible, match="stops at 'check'"):
        await new.resume("t")
    release(renamed={"check": "review"})
    assert sorted(log(await new.resume("t"))) == ["quick", "review", "slow"]
    assert nodes.begun == {"quick": 1, "slow": 2, "review": 1}
    assert len(await migrated(new)) == 1


async def test_what_a_finished_node_returned_is_migrated(opened: Open, release: Callable[..., None]) -> None:
    nodes = Nodes()
    nodes.failing.add("slow")
    with pytest.raises(RuntimeError):
        await (await opened(side_by_side(nodes, Text, "last", topic="x"))).start({"log": []}, thread="t")
    release(state={1: listed})
    new = await opened(side_by_side(nodes, Texts, "last", topic=["x"]))
    done = await new.resume("t")
    assert (done.values["topic"], sorted(log(done))) == (["x"], ["last", "quick", "slow"])
    assert nodes.begun == {"quick": 1, "slow": 2, "last": 1}


async def test_node_of_a_sub_graph_is_looked_for_as_well(opened: Open, release: Callable[..., None]) -> None:
    nodes = Nodes()

    def nested(name: str) -> Built:
        inner = row(Text, first=nodes("first"), **{name: nodes.asking(name)}, last=nodes("last"))
        return row(Text, outer=inner.compile(), end=nodes("end"))

    await (await opened(nested("ask"))).start({"log": []}, thread="t")
    new = await opened(nested("approve"))
    with pytest.raises(Incompatible, match="stops at 'ask'"):
        await new.answer("t", "yes")
    release(renamed={"ask": "approve"})
    [asked] = (await new.resume("t")).questions
    assert asked.payload == {"who": "approve"}
    assert log(await new.answer("t", "yes")) == ["first", "approve: yes", "last", "end"]
    assert nodes.begun == {"first": 1, "ask": 1, "approve": 2, "last": 1, "end": 1}


async def test_older_release_leaves_a_migrated_thread_alone(opened: Open, release: Callable[..., None]) -> None:
    """As it happens in a roll-out: it would store the old form over the new one."""
    nodes = Nodes()
    old = await opened(row(Text, ask=nodes.asking("ask"), more=nodes.asking("more")))
    await old.start({"log": [], "topic": "x"}, thread="t")
    release(state={1: listed})
    new = await opened(row(Texts, ask=nodes.asking("ask"), more=nodes.asking("more")))
    await new.answer("t", "yes")
    release()
    with pytest.raises(Incompatible, match="from a newer release"):
        await (await opened(row(Text, ask=nodes.asking("ask"), more=nodes.asking("more")))).answer("t", "yes")
    release(state={1: listed})
    await new.resume("t")
    assert (await new.answer("t", "yes")).values["topic"] == ["x"]


async def test_worker_of_an_older_release_leaves_the_run_to_the_newer_one(
    opened: Open, release: Callable[..., None]
) -> None:
    """However often it meets it: a roll-out, or what comes after one that failed, may take its time."""
    nodes = Nodes()
    release(state={1: listed})
    new = await opened(row(Texts, ask=nodes.asking("ask"), more=nodes.asking("more")))
    run = (await new.start({"log": [], "topic": ["x"]}, thread="t")).run_id
    await new.answer("t", "yes", queue=True)
    release()
    old = await opened(row(Text, ask=nodes.asking("ask"), more=nodes.asking("more")))
    for attempt in range(old.settings.run_retries + 2):
        with pytest.raises(Incompatible, match="from a newer release"):
            await old.execute(run, retry=True)
        [found] = await old.ledger.line("t")
        assert (found.status, found.retries, "newer release" in found.error) == ("queued", attempt + 1, True)
    release(state={1: listed})
    settled = await new.execute(run, retry=True)
    assert settled
    assert settled.status == "waiting"


async def test_thread_from_before_what_was_thrown_away_is_an_error(opened: Open, release: Callable[..., None]) -> None:
    nodes = Nodes()
    old = await opened(row(Text, a=nodes("a")))
    await old.start({"log": [], "topic": "x"}, thread="t")
    release(state={2: listed})
    new = await opened(row(Texts, a=nodes("a")))
    with pytest.raises(Incompatible, match=r"put STATE\[1\] back"):
        await new.start({"topic": ["y"]}, thread="t")


async def test_checkpoint_that_was_stored_by_hand_keeps_the_version(opened: Open, release: Callable[..., None]) -> None:
    nodes = Nodes()
    release(state={1: listed})
    runs = await opened(row(Texts, a=nodes("a")))
    await runs.start({"log": [], "topic": ["x"]}, thread="t")
    await runs._graph.aupdate_state({"configurable": {"thread_id": "t"}}, {"topic": ["y"]}, as_node="a")
    assert (await runs.start({"topic": ["z"]}, thread="t")).values["topic"] == ["x", "y", "z"]


@pytest.mark.parametrize(
    "bad", [lambda state: {"nonsense": 1}, lambda state: {"topic": state["missing"]}], ids=["unknown key", "raises"]
)
async def test_migration_that_cannot_be_applied_changes_nothing(
    opened: Open, release: Callable[..., None], bad: Any
) -> None:
    nodes = Nodes()
    old = await opened(row(Text, ask=nodes.asking("ask")))
    await old.start({"log": [], "topic": "x"}, thread="t")
    new = await opened(row(Texts, ask=nodes.asking("ask")))
    release(state={1: listed, 2: bad})
    with pytest.raises(Incompatible, match=r"STATE\[2\] of agent/migrations.py (makes nonsense|fails: KeyError)"):
        await new.answer("t", "yes")
    assert (await new.status("t")).values["topic"] == "x"
    assert await migrated(new) == []
    release(state={1: listed})
    await new.resume("t")
    assert (await new.answer("t", "yes")).values["topic"] == ["x"]


async def test_replay_of_an_old_checkpoint_has_the_new_form(opened: Open, release: Callable[..., None]) -> None:
    nodes = Nodes()
    old = await opened(row(Text, a=nodes("a"), check=nodes("check", topic="y")))
    await old.start({"log": [], "topic": "x"}, thread="t")
    [place] = [found for found in await old.history("t") if found.next == ("check",)]
    release(renamed={"check": "review"}, state={1: listed})
    new = await opened(row(Texts, a=nodes("a"), review=nodes("review", topic=["y"])))
    done = await new.replay("t", place.config["configurable"]["checkpoint_id"])
    assert (done.values["topic"], log(done)) == (["x", "y"], ["a", "review"])


async def test_who_has_lost_the_run_migrates_nothing(opened: Open, release: Callable[..., None]) -> None:
    nodes = Nodes()
    old = await opened(row(Text, ask=nodes.asking("ask")))
    [asked] = (await old.start({"log": [], "topic": "x"}, thread="t")).questions
    release(state={1: listed})
    new = await opened(row(Texts, ask=nodes.asking("ask")))
    await new.ledger.answer(asked, "yes", actor="a")
    stale = await new.ledger.claim(asked.run_id, "frozen")
    assert stale
    taken = await new.ledger.take_over(stale, "successor", crash_limit=9)
    assert taken
    thread: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(LeaseLost):
        await go_on_from(new._graph, new.ledger, stale, thread)
    assert (await new._graph.aget_state(thread)).values["topic"] == "x"
    assert (await go_on_from(new._graph, new.ledger, taken, thread)).values["topic"] == ["x"]


_VICTIM = """
import asyncio, os, signal, sys
from typing import Annotated, TypedDict
from operator import add
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from acme_agent.agent import AgentSettings, migrations
from acme_agent.persistence import open_checkpointer, open_ledger
from acme_agent.runs import Runs, compatibility

class State(TypedDict, total=False):
    log: Annotated[list[str], add]
    topic: Annotated[list[str], add]

async def approve(state):
    return {"log": [f"approve: {interrupt('?')}"]}

store = compatibility._Fitting._store

async def dying(*arguments):
    if sys.argv[1] == "after":
        await store(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    migrations.RENAMED["ask"] = "approve"
    migrations.STATE[1] = lambda state: {"topic": [state["topic"]]} if "topic" in state else {}
    compatibility._Fitting._store = dying
    settings = AgentSettings()
    async with open_checkpointer(settings.checkpoint_url, settings=settings) as saver:
        graph = StateGraph(State).add_node("approve", approve).add_edge(START, "approve").compile(checkpointer=saver)
        async with Runs(graph, settings, open_ledger(saver)) as runs:
            await runs.answer("t", "yes")

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["before", "after"])
async def test_process_that_dies_around_the_migration_leaves_it_done_or_not(
    opened: Open, release: Callable[..., None], agent_settings: AgentSettings, when: str
) -> None:
    nodes = Nodes()
    old = await opened(row(Text, ask=nodes.asking("ask")))
    await old.start({"log": [], "topic": "x"}, thread="t")
    environment = {"DATABASE_URL": agent_settings.checkpoint_url, "DATA_DIR": str(agent_settings.data_dir)}
    died = subprocess.run(  # noqa: ASYNC221 - nothing else is to happen meanwhile
        [sys.executable, "-c", _VICTIM, when], env={**os.environ, **environment}, check=False
    )
    assert died.returncode == -signal.SIGKILL
    release(renamed={"ask": "approve"}, state={1: listed})
    new = await opened(row(Texts, approve=nodes.asking("approve")))
    [head] = await new.history("t", limit=1)
    assert head.values["topic"] == ("x" if when == "before" else ["x"])
    assert (await new.status("t")).condition == "unfinished"
    [asked] = (await new.resume("t")).questions
    assert asked.node == "approve"
    done = await new.answer("t", "yes")
    assert (done.values["topic"], log(done)) == (["x"], ["approve: yes"])
    assert len(set(await migrated(new))) == 1
    assert len(await migrated(new)) == (2 if when == "before" else 1)


# The graph's version.

_SHAPE = """
import sys
from typing import Annotated, Literal, Optional, TypedDict, Union
from pathlib import Path
from operator import add
from langgraph.graph import END, START, StateGraph
from acme_agent.runs.config import graph_version

class State(TypedDict, total=False):
    log: Annotated[list[str], add]
    kind: Literal["b", "a"]
    file: Optional[Path]
    other: Union[int, None, str]
    table: dict[str, tuple[int, ...]]

graph = StateGraph(State)
for name in "abcd":
    graph.add_node(name, print)
graph.add_edge(START, "a").add_edge(["b", "a"], "d").add_conditional_edges("a", print, {"x": "b", "y": "c"})
print(graph_version(graph.compile()))
"""


def test_version_is_the_same_in_every_process_and_python() -> None:
    """The value is what every Python that CI has must compute: a change of it is a change of what is looked at."""
    versions = {
        subprocess.run(
            [sys.executable, "-c", _SHAPE],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in range(3)
    }
    assert versions == {"439cff53.0"}


def test_version_follows_nodes_edges_and_state() -> None:
    def graph(state: type = Text, *, more: bool = False, edge: bool = False) -> Any:
        built: Built = StateGraph(state)
        for name in ("a", "b", "c") if more else ("a", "b"):
            built.add_node(name, lambda _: {})
            built.add_edge(START, name)
        if edge:
            built.add_edge("a", "b")
        built.add_edge("b", END)
        return built

    class Replaced(TypedDict, total=False):
        log: list[str]
        topic: str

    class Reduced(TypedDict, total=False):
        log: Annotated[list[str], lambda left, right: right or left]
        topic: str

    class Renamed(TypedDict, total=False):
        log: Annotated[list[str], add]
        title: str

    class Same(TypedDict, total=False):
        topic: str
        log: Annotated[list[str], add]

    def wrapped(state: type) -> Any:
        return row(Text, outer=graph(state).compile())

    def version(built: Any) -> str:
        return graph_version(built.compile())

    assert version(graph()) == version(graph(Same))
    different = [graph(), graph(Texts), graph(more=True), graph(edge=True), graph(Replaced), graph(Renamed)]
    different += [graph(Reduced), wrapped(Text), wrapped(Texts)]
    assert len({version(built) for built in different}) == len(different)


def test_version_tells_the_state_s_own(release: Callable[..., None]) -> None:
    graph = row(Text, a=Nodes()("a")).compile()
    assert graph_version(graph).endswith(".0")
    release(state={3: listed, 2: listed})
    assert graph_version(graph).endswith(".3")
