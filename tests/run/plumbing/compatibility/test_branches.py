"""Threads that stopped between nodes which work side by side."""

from collections.abc import Callable
from typing import Any

import pytest
from acme_agent.runs import Incompatible
from langgraph.graph import START, StateGraph
from langgraph.types import Send

from .conftest import Built, Nodes, Open, Text, Texts, listed, log, migrated


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
