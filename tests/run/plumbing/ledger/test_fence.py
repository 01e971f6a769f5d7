"""Who has lost a run can write no more for it."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import pytest
from acme_agent.persistence import INPUT, Fence, LeaseLost, fenced
from acme_agent.runs import Runs, UnknownThread, WrongRequest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from .conftest import Steps, ask_twice

Open = Callable[..., Awaitable[Runs]]


async def test_a_thawed_process_writes_nothing(opened: Open) -> None:
    """It was frozen, another one has finished its run, and it has not heard of it."""
    steps = Steps()
    begun = steps.hold("b")
    frozen, other = [await opened(**steps.nodes("a", "b", "c")) for _ in range(2)]
    frozen.keeper.judge = lambda *_: None  # type: ignore[method-assign] # it hears nothing
    lost = asyncio.create_task(frozen.start({"log": ["in"]}, thread="t"))
    await begun.wait()
    [seen] = await other.ledger.line("t")
    taken = await other.ledger.take_over(seen, "other", crash_limit=9)
    assert taken
    steps.go.clear()
    settled, _ = await other._executor.execute(taken, lambda _: None)
    assert settled.status == "done"
    expected = await other.history("t", limit=99)
    begun_before = dict(steps.begun)

    for event in steps.at.values():
        event.set()
    steps.release("b")
    assert (await lost).condition == "done"  # the thread's, by the other's work
    assert [snapshot.config for snapshot in await other.history("t", limit=99)] == [s.config for s in expected]
    assert steps.begun == begun_before  # it stopped at its first write: c was not begun again


async def test_a_new_thread_is_not_read_before_its_first_checkpoint(
    opened: Open, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """What began the run knows that there is nothing: on PostgreSQL that saves a round trip. All later reads happen."""
    if not database_url.startswith("postgresql"):
        pytest.skip("its reads are counted in another way")
    read: list[str] = []
    stock = AsyncPostgresSaver.aget_tuple

    async def counted(self: AsyncPostgresSaver, config: RunnableConfig) -> CheckpointTuple | None:
        found = await stock(self, config)
        read.append("nothing" if found is None else "a checkpoint")
        return found

    monkeypatch.setattr(AsyncPostgresSaver, "aget_tuple", counted)
    runs = await opened(**Steps().nodes("a", "b"))
    await runs.start({"log": ["first"]}, thread="t")
    assert "nothing" not in read
    assert (await runs.start({"log": ["second"]}, thread="t")).values["log"] == ["first", "a", "b", "second", "a", "b"]
    assert set(read) == {"a checkpoint"}


async def test_a_new_thread_is_read_as_soon_as_it_has_a_checkpoint(opened: Open) -> None:
    """As by a node that looks at its own thread."""
    runs = await opened(**Steps().nodes("a"))
    saver = runs._checkpointer
    run = await runs.ledger.begin("r", "t", {"log": ["in"]}, holder="me")
    assert run
    config: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    with fenced(Fence("r", run.attempt, INPUT, {"t"})):
        assert await saver.aget_tuple(config) is None
        stored = await saver.aput(config, empty_checkpoint(), {"source": "input"}, {})
        found = await saver.aget_tuple(config)
    assert found
    assert found.config == stored


async def test_a_thread_that_an_earlier_attempt_wrote_to_is_read(opened: Open) -> None:
    steps = Steps()
    begun = steps.hold("a")
    runs = await opened(**steps.nodes("a", "b"))
    first = asyncio.create_task(runs.start({"log": ["in"]}, thread="t"))
    await begun.wait()
    runs.keeper.drain("shutdown")
    steps.release("a")
    await first
    [run] = await runs.ledger.line("t")
    claimed = await runs.ledger.claim(run.run_id, "me")
    assert claimed
    assert not claimed.blank


async def test_every_write_is_refused_without_the_lease(opened: Open) -> None:
    runs = await opened(**Steps().nodes("a"))
    saver = runs._checkpointer
    run = await runs.ledger.begin("r", "t", {"log": ["in"]}, holder="me")
    assert run
    config: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    with fenced(Fence("r", run.attempt, INPUT)):
        stored = await saver.aput(config, empty_checkpoint(), {"source": "input"}, {})
        await saver.aput_writes(stored, [("log", ["x"])], "task")
    assert not (await runs.ledger.find("r") or run).has_input  # given once, by the same transaction
    before = [item.pending_writes async for item in saver.alist(config)]
    for fence in (Fence("r", run.attempt - 1), Fence("r", run.attempt + 1), Fence("another", 1)):
        with fenced(fence):
            with pytest.raises(LeaseLost):
                await saver.aput(stored, empty_checkpoint(), {}, {})
            with pytest.raises(LeaseLost):
                await saver.aput_writes(stored, [("log", ["y"])], "other task")
    await runs.ledger.settle(run, "done")
    with fenced(Fence("r", run.attempt)), pytest.raises(LeaseLost):
        await saver.aput(stored, empty_checkpoint(), {}, {})
    assert [item.pending_writes async for item in saver.alist(config)] == before


async def test_who_lost_the_lease_fails_alone(opened: Open) -> None:
    """Though its rows are in one batch with others'."""
    runs = await opened(**Steps().nodes("a"))
    saver = runs._checkpointer
    held = [await runs.ledger.begin(f"r{n}", f"t{n}", None, holder="me") for n in range(10)]

    async def put(number: int) -> object:
        config: RunnableConfig = {"configurable": {"thread_id": f"t{number}", "checkpoint_ns": ""}}
        with fenced(Fence(f"r{number}", 1 if number % 2 else 7)):
            return await saver.aput(config, empty_checkpoint(), {}, {})

    assert all(held)
    results = await asyncio.gather(*(put(number) for number in range(10)), return_exceptions=True)
    assert [isinstance(result, LeaseLost) for result in results] == [number % 2 == 0 for number in range(10)]
    for number in range(10):
        found = await saver.aget_tuple({"configurable": {"thread_id": f"t{number}"}})
        assert (found is not None) == bool(number % 2)


async def test_cancelling_stops_a_running_node_at_once(opened: Open) -> None:
    steps = Steps()
    begun = steps.hold("a")
    one, other = [await opened(**steps.nodes("a", "b")) for _ in range(2)]
    run = asyncio.create_task(one.start({"log": []}, thread="t"))
    await begun.wait()
    await asyncio.sleep(0.3)  # its keeper listens by then
    began = monotonic()
    [cancelled] = await other.cancel("t")
    status = await asyncio.wait_for(run, 5)
    assert monotonic() - began < 1.0
    assert (cancelled.status, status.condition) == ("cancelled", "cancelled")
    assert steps.begun == {"a": 1}
    with pytest.raises(WrongRequest, match="is cancelled"):
        await other.resume("t")
    steps.go.clear()
    assert (await other.start({"log": ["new"]}, thread="t")).values == {"log": ["new", "a", "b"]}


async def test_a_deleted_thread_does_not_come_back(opened: Open) -> None:
    steps = Steps()
    begun = steps.hold("a")
    one, other = [await opened(**steps.nodes("a", "b")) for _ in range(2)]
    one.keeper.judge = lambda *_: None  # type: ignore[method-assign] # it hears nothing
    run = asyncio.create_task(one.start({"log": []}, thread="t"))
    await begun.wait()
    await other.delete("t")
    steps.release("a")
    with pytest.raises(UnknownThread):
        await run
    assert await other._checkpointer.aget_tuple({"configurable": {"thread_id": "t"}}) is None
    assert await other.ledger.newest("t") == []
    assert [entry.kind for entry in await other.ledger.audit("t")] == ["deleted", "cancelled"]
    steps.go.clear()
    assert (await other.start({"log": ["anew"]}, thread="t")).values == {"log": ["anew", "a", "b"]}


async def test_a_waiting_thread_is_deleted_with_its_question(opened: Open) -> None:
    runs = await opened(ask=ask_twice)
    await runs.start({"log": []}, thread="t")
    await runs.delete("t")
    assert await runs.waiting() == []
    with pytest.raises(UnknownThread):
        await runs.answer("t", "yes")
