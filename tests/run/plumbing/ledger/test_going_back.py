"""Replay, fork, and the requests that cannot be meant."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from acme_agent.persistence import LeaseLost, open_ledger
from acme_agent.persistence.items import ItemSaver
from acme_agent.persistence.postgres_saver import PostgresSaver
from acme_agent.persistence.sqlite import SqliteSaver
from acme_agent.runs import Runs, UnknownThread, WrongRequest

from .conftest import Steps, ask_twice

Open = Callable[..., Awaitable[Runs]]
Freeze = Callable[[str, str, Awaitable[Any]], None]


@pytest.fixture
def freeze(monkeypatch: pytest.MonkeyPatch) -> Freeze:
    """Return a function that lets a saver's next call of a method wait until the thread was taken over.

    What is given besides is what another process does with the thread before the call goes on.
    """

    def freeze_(method: str, thread: str, meanwhile: Awaitable[Any]) -> None:
        for kind in (SqliteSaver, PostgresSaver, ItemSaver):
            plain = getattr(kind, method)

            async def call(self: Any, *arguments: Any, plain: Any = plain) -> Any:
                monkeypatch.undo()
                (reservation,) = await open_ledger(self).line(thread)
                await open_ledger(self).settle(reservation, "failed", error="it died")
                await meanwhile
                return await plain(self, *arguments)

            monkeypatch.setattr(kind, method, call)

    return freeze_


async def _checkpoint_before(runs: Runs, node: str, thread: str = "t") -> str:
    for snapshot in await runs.history(thread, limit=50):
        if snapshot.next == (node,):
            return str(snapshot.config["configurable"]["checkpoint_id"])
    raise AssertionError(node)


async def test_replay_goes_on_from_the_patch(opened: Open) -> None:
    """With the config of the old checkpoint it would ignore it."""
    steps = Steps()
    runs = await opened(**steps.nodes("a", "b", "c"))
    await runs.start({"log": ["in"]}, thread="t")
    place = await _checkpoint_before(runs, "b")
    status = await runs.replay("t", place, {"log": ["patched"]}, as_node="a")
    assert status.values == {"log": ["in", "a", "patched", "b", "c"]}
    assert steps.begun == {"a": 1, "b": 2, "c": 2}
    again = await runs.replay("t", place)
    assert again.values == {"log": ["in", "a", "b", "c"]}
    assert (await runs.status("t")).values == again.values


async def test_replay_whose_process_dies_before_it_began_is_not_forgotten(opened: Open) -> None:
    from acme_agent.runs.replay import Replay

    runs = await opened(**Steps().nodes("a", "b"))
    await runs.start({"log": ["in"]}, thread="t")
    place = await _checkpoint_before(runs, "b")
    dead = await runs.ledger.begin("r", "t", Replay(place, {"log": ["patched"]}, "a").pack(), holder="dead")
    assert dead
    taken = await runs.ledger.take_over(dead, "another", crash_limit=9)
    assert taken
    await runs._executor.execute(taken, lambda _: None)
    assert (await runs.status("t")).values == {"log": ["in", "a", "patched", "b"]}


async def test_fork_copies_a_thread_up_to_a_checkpoint(opened: Open) -> None:
    runs = await opened(**Steps().nodes("a", "b"))
    await runs.start({"log": ["in"]}, thread="t")
    place = await _checkpoint_before(runs, "b")
    copy = await runs.fork("t", place, to="u")
    assert (copy.values, copy.next, copy.condition) == ({"log": ["in", "a"]}, ("b",), "unfinished")
    assert (await runs.resume("u")).values == {"log": ["in", "a", "b"]}
    whole = await runs.fork("t", to="v")
    assert (whole.values, whole.condition) == ({"log": ["in", "a", "b"]}, "done")
    one, other = await runs.history("t", limit=50), await runs.history("v", limit=50)
    assert [snapshot.values for snapshot in one] == [snapshot.values for snapshot in other]
    assert (await runs.start({"log": ["more"]}, thread="v")).values["log"][-3:] == ["more", "a", "b"]
    assert (await runs.status("t")).values == {"log": ["in", "a", "b"]}


async def test_fork_of_a_waiting_thread_asks_again(opened: Open) -> None:
    runs = await opened(ask=ask_twice)
    await runs.start({"log": []}, thread="t")
    assert (await runs.fork("t", to="u")).condition in {"waiting", "unfinished"}
    asked = await runs.resume("u")
    assert asked.questions[0].payload == {"what": "first"}
    await runs.answer("u", "one")
    assert (await runs.answer("u", "two")).values == {"log": ["one/two"]}
    assert (await runs.status("t")).condition == "waiting"


async def test_a_fork_that_was_taken_for_dead_leaves_the_thread_alone(opened: Open, freeze: Freeze) -> None:
    """What another process has made of the thread stays when the one that forked wakes up."""
    runs = await opened(**Steps().nodes("a", "b"))
    await runs.start({"log": ["in"]}, thread="t")
    freeze("aput", "u", runs.start({"log": ["other"]}, thread="u"))
    with pytest.raises(LeaseLost):
        await runs.fork("t", to="u")
    assert (await runs.status("u")).values == {"log": ["other", "a", "b"]}
    assert not any("in" in snapshot.values.get("log", []) for snapshot in await runs.history("u", limit=50))


async def test_a_deletion_that_was_taken_for_dead_leaves_the_thread_alone(opened: Open, freeze: Freeze) -> None:
    runs = await opened(**Steps().nodes("a", "b"))
    await runs.start({"log": ["in"]}, thread="t")
    freeze("adelete_thread", "t", runs.start({"log": ["more"]}, thread="t"))
    with pytest.raises(LeaseLost):
        await runs.delete("t")
    assert (await runs.status("t")).values == {"log": ["in", "a", "b", "more", "a", "b"]}


async def test_requests_that_cannot_be_meant(opened: Open) -> None:
    runs = await opened(**Steps().nodes("a", "b"))
    await runs.start({"log": ["in"]}, thread="t")
    await runs.start({"log": ["other"]}, thread="u")
    foreign = await _checkpoint_before(runs, "b", "u")
    own = await _checkpoint_before(runs, "b")
    with pytest.raises(WrongRequest, match="has no checkpoint"):
        await runs.fork("t", foreign, to="v")
    with pytest.raises(WrongRequest, match="has no checkpoint"):
        await runs.replay("t", foreign)
    with pytest.raises(WrongRequest, match="no key nonsense"):
        await runs.replay("t", own, {"nonsense": 1})
    with pytest.raises(WrongRequest, match="no key branch:to:b"):
        await runs.replay("t", own, {"branch:to:b": None})
    with pytest.raises(WrongRequest, match="no node 'nobody'"):
        await runs.replay("t", own, {"log": []}, as_node="nobody")
    with pytest.raises(WrongRequest, match="there is a thread u"):
        await runs.fork("t", to="u")
    with pytest.raises(UnknownThread):
        await runs.fork("nothing", to="v")
    with pytest.raises(UnknownThread):
        await runs.cancel("nothing")
    with pytest.raises(UnknownThread):
        await runs.delete("nothing")
    assert await runs.cancel("t") == []
    with pytest.raises(WrongRequest, match="has finished"):
        await runs.resume("t")
    for thread in ("t", "u"):
        assert (await runs.status(thread)).condition == "done"
    assert [run.status for run in await runs.ledger.newest("t", 9)] == ["done"]


async def test_failed_run_is_tried_again_from_where_it_failed(opened: Open) -> None:
    steps = Steps()
    failures = ["once"]

    async def fails(_state: object) -> dict[str, list[str]]:
        if failures:
            raise RuntimeError(failures.pop())
        return {"log": ["b"]}

    runs = await opened(**steps.nodes("a"), b=fails)
    with pytest.raises(RuntimeError, match="once"):
        await runs.start({"log": []}, thread="t")
    status = await runs.status("t")
    assert (status.condition, status.error, status.next) == ("failed", "RuntimeError: once", ("b",))
    assert (await runs.resume("t")).values == {"log": ["a", "b"]}
    assert steps.begun == {"a": 1}
