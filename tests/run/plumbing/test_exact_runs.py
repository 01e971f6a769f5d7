"""What a run meets when its state would not come back, and what its long texts cost."""

import asyncio
import operator
import time
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from acme_agent.persistence import open_checkpointer
from acme_agent.persistence.errors import ValueRefused
from acme_agent.settings import Settings
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

pytestmark = pytest.mark.anyio


@dataclass
class Plan:
    steps: Any


class State(TypedDict, total=False):
    value: Any
    log: Annotated[list[str], operator.add]


def thread(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


async def load(saver: Any, thread_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a thread's channels and its writes."""
    found = await saver.aget_tuple(thread(thread_id))
    assert found
    return found.checkpoint["channel_values"], {channel: value for _, channel, value in found.pending_writes}


def graph(node: Any, saver: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("first", lambda _: {"log": ["first"]})
    builder.add_node("node", node)
    builder.add_edge(START, "first")
    builder.add_edge("first", "node")
    builder.add_edge("node", END)
    return builder.compile(checkpointer=saver)


async def test_a_run_stops_at_the_superstep_whose_value_would_not_come_back_and_goes_on_when_it_is_named(
    url: str, settings: Settings
) -> None:
    config = {"configurable": {"thread_id": "t-1"}}
    async with open_checkpointer(url, settings=settings) as saver:
        runs = graph(lambda _: {"value": Plan(["a"])}, saver)
        with pytest.raises(ValueRefused, match=r"checkpoint_types = \(\.\.\., .*\.Plan\)"):
            await runs.ainvoke({"log": []}, config, durability="sync")
        assert (await runs.aget_state(config)).next == ("node",)
    async with open_checkpointer(url, settings=settings, types=[Plan]) as saver:
        runs = graph(lambda _: {"value": Plan(["a"])}, saver)
        await runs.ainvoke(None, config, durability="sync")
        assert (await runs.aget_state(config)).values == {"value": Plan(["a"]), "log": ["first"]}


async def test_a_question_with_an_unknown_class_is_refused_when_it_is_asked(database: str, settings: Settings) -> None:
    config = {"configurable": {"thread_id": "t-1"}}
    async with open_checkpointer(database, settings=settings) as saver:
        with pytest.raises(ValueRefused, match=r"'__interrupt__' of thread 't-1' .*\.Plan\)"):
            await graph(lambda _: {"value": interrupt(Plan(1))}, saver).ainvoke({"log": []}, config, durability="sync")


async def test_the_error_of_a_node_is_kept_as_text(database: str, settings: Settings) -> None:
    def fail(_: State) -> State:
        raise ZeroDivisionError("by zero")

    config = {"configurable": {"thread_id": "t-1"}}
    async with open_checkpointer(database, settings=settings) as saver:
        with pytest.raises(ZeroDivisionError):
            await graph(fail, saver).ainvoke({"log": []}, config, durability="sync")
        found = await saver.aget_tuple(thread("t-1"))
    assert found
    assert [value for _, channel, value in found.pending_writes or [] if channel == "__error__"] == [
        "ZeroDivisionError('by zero')"
    ]


async def test_a_long_text_that_langgraphs_saver_stored_survives_our_next_checkpoints(
    database: str, settings: Settings
) -> None:
    config: Any = {"configurable": {"thread_id": "t-1"}}
    text = "x" * 2000
    async with AsyncPostgresSaver.from_conn_string(database) as stock:
        runs = graph(lambda _: {"value": interrupt("go on?")}, stock)
        await runs.ainvoke({"log": [], "value": text}, config, durability="sync")
    async with open_checkpointer(database, settings=settings) as saver:
        await graph(lambda _: {"log": [interrupt("go on?")]}, saver).ainvoke(
            Command(resume="y"), config, durability="sync"
        )
        assert (await load(saver, "t-1"))[0]["value"] == text
    async with AsyncPostgresSaver.from_conn_string(database) as stock:
        assert (await load(stock, "t-1"))[0]["value"] == text


async def test_a_text_of_5_mb_is_sent_once_and_holds_nobody_up(database: str, settings: Settings) -> None:
    text = "0123456789abcdef\0" * (5_000_000 // 17)
    config: Any = {"configurable": {"thread_id": "t-1"}}
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)

    for value in (text, text.replace("\0", "-")):
        async with open_checkpointer(database, settings=settings) as saver:
            builder = StateGraph(State)
            names = ["write", "a", "b", "c", "d"]
            builder.add_sequence([(name, lambda _: {"log": ["x"]}) for name in names])
            builder.add_edge(START, "write")
            runs: Any = builder.compile(checkpointer=saver)
            heart = asyncio.create_task(beat())
            await runs.ainvoke({"log": [], "value": value}, config, durability="sync")
            heart.cancel()
            sent = saver.figures.bytes  # type: ignore[attr-defined] # of ours
            assert (await runs.aget_state(config)).values["value"] == value
        assert len(value) < sent < 3.5 * len(value)  # the input as __start__ and as itself
    assert longest < 1.0
