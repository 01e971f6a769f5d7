"""Keys that were added, removed or changed their type since a thread stopped."""

from collections.abc import Callable
from operator import add
from typing import Annotated, Any, TypedDict

import pytest
from acme_agent.agent import AgentSettings
from acme_agent.persistence import LeaseLost
from acme_agent.runs import Incompatible
from acme_agent.runs.compatibility import go_on_from
from langgraph.types import Overwrite

from .conftest import Nodes, Open, Text, Texts, listed, log, migrated, row


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
