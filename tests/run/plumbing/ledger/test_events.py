"""Following what a run does."""

import asyncio
from collections.abc import Awaitable, Callable

from acme_agent.runs import Runs
from acme_agent.runs.events import Event, Moved, NodeFinished, NodeStarted

from .conftest import Steps, ask_twice

Open = Callable[..., Awaitable[Runs]]


async def _followed(runs: Runs, run: str) -> list[Event]:
    return [event async for event in runs.events(run)]


def _names(events: list[Event]) -> list[str]:
    names = []
    for event in events:
        match event:
            case NodeStarted(node):
                names.append(f"{node} begins")
            case NodeFinished(node):
                names.append(f"{node} ends")
            case Moved(status):
                names.append(status)
            case _:
                raise AssertionError(event)
    return names


async def test_a_run_is_followed_to_its_end(opened: Open) -> None:
    """By its own process with its nodes, by another one with what the ledger tells."""
    steps = Steps()
    begun = steps.hold("a")
    one, other = [await opened(**steps.nodes("a", "b")) for _ in range(2)]
    work = asyncio.create_task(one.start({"log": []}, thread="t"))
    await begun.wait()
    [run] = await one.ledger.line("t")
    near, far = [asyncio.create_task(_followed(runs, run.run_id)) for runs in (one, other)]
    while not one._listeners._queues:  # noqa: ASYNC110 - nobody tells that somebody follows
        await asyncio.sleep(0.01)
    steps.release("a")
    await work
    assert _names(await near) == ["running", "a ends", "b begins", "b ends", "done"]
    assert _names(await far) in (["running", "done"], ["done"])  # it may look too late for the first
    assert _names(await _followed(other, run.run_id)) == ["done"]
    assert one._listeners._queues == {}


async def test_a_run_is_followed_until_it_asks(opened: Open) -> None:
    runs = await opened(ask=ask_twice)
    status = await runs.start({"log": []}, thread="t", queue=True)
    follower = asyncio.create_task(_followed(runs, status.run_id))
    while not runs._listeners._queues:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.01)
    await runs.execute(status.run_id)
    names = _names(await follower)
    assert names[-1] == "waiting"
    assert [name for name in names if name.startswith("ask")] == ["ask begins", "ask ends"]


async def test_a_run_that_is_not_there_does_nothing(opened: Open) -> None:
    assert await _followed(await opened(**Steps().nodes("a")), "nothing") == []
