"""A run's way from being accepted to its end, and every way that it must not take."""

from collections.abc import Awaitable, Callable

import pytest
from acme_agent.persistence import Asked, ForbiddenMove, LeaseLost, Ledger, Run, Status
from acme_agent.persistence.ledger import MOVES


async def _bring(ledger: Ledger, status: Status, run: str = "r") -> Run:
    """Return a run of a thread of its own that has this status."""
    accepted, _ = await ledger.accept(run, f"thread-{run}", {"log": ["in"]}, mode="enqueue")
    assert accepted
    if status == "queued":
        return accepted
    claimed = await ledger.claim(run, "holder")
    assert claimed
    match status:
        case "running":
            return claimed
        case "waiting":
            return await ledger.settle(claimed, "waiting", questions=[Asked("q", "node", "really?")])
        case "cancelled":
            return await ledger.cancel(run, actor="tester") or claimed
        case _:
            return await ledger.settle(claimed, status)


_WAYS: dict[Status, Callable[[Ledger, Run], Awaitable[Run | None]]] = {
    "queued": lambda ledger, run: ledger.try_again(run.run_id, actor="tester"),
    "cancelled": lambda ledger, run: ledger.cancel(run.run_id, actor="tester"),
    "failed": lambda ledger, run: ledger.fail(run.run_id, "given up"),
}


@pytest.mark.parametrize("to", _WAYS)
@pytest.mark.parametrize("status", MOVES)
async def test_others_move_a_run_only_where_it_may_go(ledger: Ledger, status: Status, to: Status) -> None:
    """Every forbidden move is refused and changes nothing; every allowed one raises the attempt."""
    run = await _bring(ledger, status)
    if status == to:
        assert await _WAYS[to](ledger, run) == await ledger.find(run.run_id)
    elif to in MOVES[status]:
        moved = await _WAYS[to](ledger, run)
        assert moved
        assert (moved.status, moved.attempt) == (to, run.attempt + 1)
    else:
        with pytest.raises(ForbiddenMove, match=f"is {status} and cannot become {to}"):
            await _WAYS[to](ledger, run)
        found = await ledger.find(run.run_id)
        assert found
        assert (found.status, found.attempt) == (status, run.attempt)


@pytest.mark.parametrize("status", MOVES)
async def test_only_a_queued_run_is_claimed(ledger: Ledger, status: Status) -> None:
    await _bring(ledger, status)
    claimed = await ledger.claim("r", "another")
    assert (claimed is not None) == (status == "queued")


@pytest.mark.parametrize("status", [status for status in MOVES if status != "running"])
async def test_only_the_holder_settles(ledger: Ledger, status: Status) -> None:
    """Also when it is late: the run is another's, or over."""
    held = await _bring(ledger, "running", "held")
    assert await ledger.take_over(held, "another", crash_limit=9)
    for end in ("done", "failed", "queued"):
        with pytest.raises(LeaseLost, match="attempt 1 of run held"):
            await ledger.settle(held, end)
    with pytest.raises(LeaseLost):
        await ledger.settle(held, "waiting", questions=[Asked("q", "node", "?")])
    over = await _bring(ledger, status)
    with pytest.raises(LeaseLost):
        await ledger.settle(over, "done", error="another end")


async def test_a_call_repeated_because_its_answer_was_lost_changes_nothing(ledger: Ledger) -> None:
    """A lost connection makes the pool send a statement again, though it may have been carried out."""
    began = await ledger.begin("a", "t", {}, holder="me")
    assert began
    assert began == await ledger.begin("a", "t", {}, holder="me")
    settled = await ledger.settle(began, "failed", error="x")
    assert (await ledger.settle(began, "failed", error="x")).changed_at == settled.changed_at
    first, _ = await ledger.accept("b", "t", {}, mode="enqueue")
    again, before = await ledger.accept("b", "t", {}, mode="reject")
    assert first
    assert again
    assert (again.position, before) == (first.position, [])
    claimed = await ledger.claim("b", "me-2")
    repeated = await ledger.claim("b", "me-2")
    assert claimed
    assert repeated
    assert (repeated.attempt, repeated.holder) == (claimed.attempt, "me-2")
    taken = await ledger.take_over(claimed, "you", crash_limit=9)
    assert taken
    assert (await ledger.take_over(claimed, "you", crash_limit=9)) is not None
    assert (await ledger.find("b") or taken).attempt == taken.attempt


async def test_a_run_that_kills_its_process_is_parked_with_its_history(ledger: Ledger) -> None:
    run = await _bring(ledger, "running")
    for number in range(1, 3):
        taken = await ledger.take_over(run, f"holder-{number}", crash_limit=3)
        assert taken
        assert (taken.status, taken.crashes, taken.attempt) == ("running", number, number + 1)
        run = taken
    parked = await ledger.take_over(run, "holder-3", crash_limit=3)
    assert parked
    assert parked.status == "failed"
    assert "died 3 times" in parked.error
    kinds = [entry.kind for entry in await ledger.audit(parked.thread_id)]
    assert kinds == ["parked", "crashed", "crashed", "crashed"]
    again = await ledger.try_again("r", actor="tester")
    assert again
    assert (again.status, again.crashes) == ("queued", 0)


async def test_handing_over_counts_neither_as_a_crash_nor_as_a_retry(ledger: Ledger) -> None:
    for _ in range(5):
        run = await _bring(ledger, "queued") if not await ledger.find("r") else await ledger.find("r")
        claimed = await ledger.claim("r", f"holder-{_}")
        assert run
        assert claimed
        run = await ledger.settle(claimed, "queued")
        assert (run.status, run.crashes, run.retries) == ("queued", 0, 0)


async def test_the_audit_only_grows(ledger: Ledger, database_url: str) -> None:
    """The database itself refuses to change a line."""
    if not database_url.startswith(("postgresql", "sqlite")):
        pytest.skip("a store of items refuses its owner nothing")
    await _bring(ledger, "cancelled")
    with pytest.raises(Exception, match="append-only"):
        await ledger.store.rows("UPDATE agent_audit SET actor = 'nobody'", {})
    assert [entry.actor for entry in await ledger.audit("thread-r")] == ["tester"]
