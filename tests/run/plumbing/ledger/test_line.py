"""What a second run of a thread meets."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from acme_agent.runs import Runs, ThreadBusy, WrongRequest

from .conftest import Steps, ask_twice

Open = Callable[..., Awaitable[Runs]]


async def test_enqueued_runs_go_in_their_order(opened: Open) -> None:
    """Also between two processes, and none of the inputs is lost."""
    steps = Steps()
    begun = steps.hold("a")
    one, other = [await opened(**steps.nodes("a", "b")) for _ in range(2)]
    first = asyncio.create_task(one.start({"log": ["1"]}, thread="t"))
    await begun.wait()
    second = asyncio.create_task(other.start({"log": ["2"]}, thread="t"))
    while len(await one.ledger.line("t")) < 2:  # noqa: ASYNC110 - the database tells
        await asyncio.sleep(0.01)
    third = asyncio.create_task(one.start({"log": ["3"]}, thread="t"))
    while len(await one.ledger.line("t")) < 3:  # noqa: ASYNC110 - the database tells
        await asyncio.sleep(0.01)
    steps.go["a"].set()
    ended = await asyncio.gather(first, second, third)
    assert [status.condition for status in ended] == ["done"] * 3
    assert (await one.status("t")).values == {"log": ["1", "a", "b", "2", "a", "b", "3", "a", "b"]}
    assert steps.begun == {"a": 3, "b": 3}


async def test_rejected_run_names_the_one_that_is_there(opened: Open) -> None:
    steps = Steps()
    begun = steps.hold("a")
    runs = await opened(**steps.nodes("a"))
    first = asyncio.create_task(runs.start({"log": ["1"]}, thread="t"))
    await begun.wait()
    [there] = await runs.ledger.line("t")
    for queue in (False, True):
        with pytest.raises(ThreadBusy, match=there.run_id) as refused:
            await runs.start({"log": ["2"]}, thread="t", mode="reject", queue=queue)
        assert refused.value.run.run_id == there.run_id
    steps.go["a"].set()
    assert (await first).values == {"log": ["1", "a"]}
    assert (await runs.start({"log": ["2"]}, thread="t", mode="reject")).condition == "done"


async def test_interrupting_run_stops_the_first_at_its_next_superstep(opened: Open) -> None:
    steps = Steps()
    begun = steps.hold("a")
    one, other = [await opened(**steps.nodes("a", "b")) for _ in range(2)]
    first = asyncio.create_task(one.start({"log": ["1"]}, thread="t"))
    await begun.wait()
    second = asyncio.create_task(other.start({"log": ["2"]}, thread="t", mode="interrupt"))
    while not one.keeper.draining("t"):  # noqa: ASYNC110 - the database tells
        await asyncio.sleep(0.01)
    steps.go["a"].set()
    assert (await first).condition in {"queued", "running", "cancelled", "done"}  # of the thread, by now
    assert (await second).values == {"log": ["1", "a", "2", "a", "b"]}
    assert [run.status for run in await one.ledger.newest("t", 5)] == ["done", "cancelled"]
    assert "newer run" in (await one.ledger.newest("t", 5))[1].error
    assert [entry.kind for entry in await one.ledger.audit("t")] == ["cancelled"]


async def test_a_waiting_thread_takes_no_new_input(opened: Open) -> None:
    """It would silently discard the question."""
    runs = await opened(ask=ask_twice)
    assert (await runs.start({"log": []}, thread="t")).condition == "waiting"
    for mode in ("reject", "enqueue", "interrupt"):
        with pytest.raises(WrongRequest, match="waits for an answer"):
            await runs.start({"log": ["2"]}, thread="t", mode=mode)
    assert len(await runs.ledger.line("t")) == 1


async def test_who_waits_goes_on_with_a_run_whose_process_died(opened: Open) -> None:
    """An accepted run is finished, even where no worker is."""
    steps = Steps()
    runs = await opened(**steps.nodes("a"))
    dead = await runs.ledger.begin("dead", "t", {"log": ["1"]}, holder=_dead_holder())
    assert dead
    status = await runs.start({"log": ["2"]}, thread="t")
    assert status.values == {"log": ["1", "a", "2", "a"]}
    assert [run.status for run in await runs.ledger.newest("t", 5)] == ["done", "done"]


def _dead_holder() -> str:
    from acme_agent.runs.holder import machine

    return f"{machine()}/999999999/gone"
