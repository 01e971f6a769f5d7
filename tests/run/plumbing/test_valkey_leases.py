"""Leases in a store of items: who may write, what is given once, and what a run leaves when it is over."""

import asyncio
from typing import Any

import pytest
import redis
from acme_agent.cancelling import end
from acme_agent.persistence import (
    INPUT,
    Asked,
    Fence,
    LeaseLost,
    Ledger,
    fenced,
    open_checkpointer,
    open_ledger,
)
from acme_agent.persistence.errors import StateLost
from acme_agent.persistence.items import Change, ItemSaver, Span, keys
from acme_agent.readiness.servers.valkey_server import held_server
from acme_agent.runs import keeper as keeper_module
from acme_agent.runs.keeper import Keeper
from acme_agent.settings import Settings
from langgraph.checkpoint.base import empty_checkpoint

from .conftest import thread


async def test_a_run_whose_checkpoint_was_lost_is_stopped(valkey_url: str, settings: Settings) -> None:
    """As after a power failure: the lease holds, and what it followed is gone."""
    async with open_checkpointer(valkey_url, settings=settings) as saver:
        ledger = open_ledger(saver)
        run = await ledger.begin("r", "t", {}, holder="me")
        assert run
        with fenced(Fence(run.run_id, run.attempt, continues=True)):
            one = await saver.aput(thread("t"), empty_checkpoint(), {"source": "input"}, {})
            two = await saver.aput(one, empty_checkpoint(), {"source": "loop"}, {})
            state = f"{{{valkey_url.rpartition('=')[2]}}}:state:t"
            with redis.Redis.from_url(valkey_url.partition("?")[0]) as client:
                client.hdel(state, f"checkpoint\x1f\x1f{two['configurable']['checkpoint_id']}")
            with pytest.raises(StateLost, match="has lost its checkpoint"):
                await saver.aput(two, empty_checkpoint(), {"source": "loop"}, {})
            await saver.aput(one, empty_checkpoint(), {"source": "loop"}, {})


async def test_what_is_given_while_a_run_is_taken_over_is_not_given_again(
    valkey_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the run and the change that takes it over, the one that was thought dead stores the input."""
    async with open_checkpointer(valkey_url, settings=settings) as saver:
        assert isinstance(saver, ItemSaver)
        ledger = open_ledger(saver)
        run = await ledger.begin("r", "t", {"log": ["in"]}, holder="me")
        assert run
        change, given = saver.items.change, False

        async def late(wanted: Change) -> Any:
            nonlocal given
            if wanted.announce and not given:
                given = True
                with fenced(Fence(run.run_id, run.attempt, INPUT)):
                    await saver.aput(thread("t"), empty_checkpoint(), {"source": "input"}, {})
            return await change(wanted)

        monkeypatch.setattr(saver.items, "change", late)
        taken = await ledger.take_over(run, "another", crash_limit=9)
        assert taken
        assert (given, taken.attempt, taken.has_input) == (True, 2, False)


async def test_a_run_that_is_over_holds_nothing(valkey_url: str, settings: Settings) -> None:
    """Neither its lease nor its entry among those that are busy, and nobody can write for it."""
    async with open_checkpointer(valkey_url, settings=settings) as saver:
        assert isinstance(saver, ItemSaver)
        ledger = open_ledger(saver)
        run = await ledger.begin("r", "t", {}, holder="me")
        assert run
        asked = Asked("q", "node", {"what": "?"})
        await ledger.settle(run, "waiting", questions=[asked])
        assert await busy(saver) == {"asking", "audited", "known"}
        with fenced(Fence(run.run_id, run.attempt)), pytest.raises(LeaseLost):
            await saver.aput(thread("t"), empty_checkpoint(), {"source": "loop"}, {})
        await ledger.cancel("r", actor="tester")
        assert await busy(saver) == {"audited", "known"}
        (left,) = await saver.items.read(Span(keys.ledger("t")))
        assert {keys.parts(key)[0] for key, _ in left} == {keys.STAMP, "input", "over"}


async def busy(saver: ItemSaver) -> set[str]:
    """Return the kinds of entries that the index has."""
    (found,) = await saver.items.read(Span(keys.INDEX))
    return {keys.parts(key)[0] for key, _ in found}


async def test_leases_are_kept_again_after_an_outage(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """A node takes longer than the outage, and the outage longer than the patience."""
    hasty = settings.model_copy(update={"database_timeout": 0.3, "database_patience": 0.3})
    with held_server() as (url, server):
        async with open_checkpointer(url, settings=hasty) as saver:
            ledger = open_ledger(saver)
            run = await ledger.begin("r", "t", {}, holder="me")
            assert run
            keeper = Keeper(ledger, beat=0.2)
            async with asyncio.timeout(30), keeper.keeping(run):
                await asyncio.to_thread(server.order, "away")
                while caplog.text.count("no sign of life could be given") < 3:  # noqa: ASYNC110 - the log tells
                    await asyncio.sleep(0.05)
                await asyncio.to_thread(server.order, "back")
                while (found := await ledger.find("r")) and found.silent > 0.5:  # noqa: ASYNC110 - and the ledger
                    await asyncio.sleep(0.05)
            await keeper.close()


async def test_leases_are_kept_after_any_error(
    valkey_url: str, settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "PAUSE", 0.05)
    async with open_checkpointer(valkey_url, settings=settings) as saver:
        ledger = open_ledger(saver)
        run = await ledger.begin("r", "t", {}, holder="me")
        assert run
        keeper, look = Keeper(ledger, beat=60), ledger.look
        looked = asyncio.Event()

        async def failing(runs: Any) -> Any:
            if "no sign of life" in caplog.text:
                looked.set()
                return await look(runs)
            raise redis.ResponseError("BUSY a script")

        monkeypatch.setattr(ledger, "look", failing)
        async with asyncio.timeout(10), keeper.keeping(run):
            await looked.wait()
        await keeper.close()


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancellation_is_not_forgotten(valkey_url: str, settings: Settings, turns: int) -> None:
    """Before Python 3.12 redis-py forgets one that comes while it sends."""
    async with open_checkpointer(valkey_url, settings=settings) as saver:
        asking = asyncio.create_task(_ask_for_ever(open_ledger(saver)))
        await asyncio.sleep(0.05)
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        done, _ = await asyncio.wait([asking], timeout=5)
        await end(asking)
        assert done, "it goes on for ever"


async def _ask_for_ever(ledger: Ledger) -> None:
    while True:
        await ledger.find("r")
