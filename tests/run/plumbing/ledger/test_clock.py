"""A thread whose runs are executed on machines with different clocks."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
from acme_agent.persistence.clock import follow
from acme_agent.runs import Runs
from langgraph.checkpoint.base import id as ids

from .conftest import Steps, ask_twice

Open = Callable[..., Awaitable[Runs]]
HOUR = 3600


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that makes this process one on a machine whose clock is so many seconds ahead."""

    def go(ahead: float) -> None:
        monkeypatch.setattr(ids, "time", SimpleNamespace(time_ns=lambda: time.time_ns() + int(ahead * 1e9)))
        monkeypatch.setattr(ids, "_last_v6_timestamp", None)

    return go


@pytest.mark.parametrize("ahead", [-HOUR, -0.01, HOUR])
async def test_who_takes_over_stores_after_what_was_there(
    opened: Open, machine: Callable[[float], None], ahead: float
) -> None:
    steps = Steps()
    begun = steps.hold("b")
    machine(0)
    one = await opened(**steps.nodes("a", "b", "c"))
    first = asyncio.create_task(one.start({"log": ["in"]}, thread="t"))
    await begun.wait()
    one.keeper.drain("shutdown")
    steps.release("b")
    assert (await first).condition == "queued"

    machine(ahead)
    other = await opened(**steps.nodes("a", "b", "c"))
    assert (await other.resume("t")).values == {"log": ["in", "a", "b", "c"]}
    machine(0)
    assert (await one.status("t")).values == {"log": ["in", "a", "b", "c"]}
    assert steps.begun == {"a": 1, "b": 1, "c": 1}


async def test_a_further_input_an_answer_and_a_replay_come_after_what_was_there(
    opened: Open, machine: Callable[[float], None]
) -> None:
    steps = Steps()
    machine(0)
    runs = await opened(**steps.nodes("a"), ask=ask_twice)
    await runs.start({"log": ["in"]}, thread="t")
    machine(-HOUR)
    await runs.answer("t", "one")
    machine(-2 * HOUR)
    assert (await runs.answer("t", "two")).values == {"log": ["in", "a", "one/two"]}
    [place] = [snapshot for snapshot in await runs.history("t", limit=9) if snapshot.next == ("a",)]
    machine(-3 * HOUR)
    assert (await runs.start({"log": ["more"]}, thread="t")).condition == "waiting"
    await runs.cancel("t")
    machine(-4 * HOUR)
    checkpoint = place.config["configurable"]["checkpoint_id"]
    replayed = await runs.replay("t", checkpoint, {"log": ["patched"]}, as_node="a")
    assert (replayed.condition, replayed.values) == ("waiting", {"log": ["in", "patched"]})
    machine(0)
    assert (await runs.status("t")).values == {"log": ["in", "patched"]}


def test_a_wrong_clock_is_told_once(machine: Callable[[float], None], caplog: pytest.LogCaptureFixture) -> None:
    machine(HOUR)
    there = str(ids.uuid6(clock_seq=3))
    machine(0)
    with caplog.at_level(logging.WARNING, "acme_agent"):
        follow(there)
        follow(there)
    [line] = caplog.messages
    assert f"{there} is 3600 s in this machine's future" in line
    assert "NTP" in line
    assert str(ids.uuid6(clock_seq=0)) > there


def test_other_ids_move_no_clock(machine: Callable[[float], None]) -> None:
    machine(0)
    for other in ("", "checkpoint-1", "ffffffff-ffff-4fff-bfff-ffffffffffff", "ffffffff-ffff-6fff-bfff-ffffffffffff"):
        follow(other)
    assert ids._last_v6_timestamp is None
