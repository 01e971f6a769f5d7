"""Nodes that were renamed, removed or inserted since a thread stopped."""

from collections.abc import Callable
from typing import Any

import pytest
from acme_agent.runs import Incompatible

from .conftest import Built, Nodes, Open, Text, log, migrated, row


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
