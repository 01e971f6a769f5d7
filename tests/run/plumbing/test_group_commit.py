"""Group commit: runs share a statement, and none pays for it with its order, its rows or its neighbour's fault."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import groupby
from typing import Any

import psycopg
import pytest
from acme_agent.persistence import CheckpointRefused, DatabaseUnreachable, open_checkpointer, postgres_commit
from acme_agent.persistence.postgres_saver import PostgresSaver
from acme_agent.readiness.servers.postgres_server import drop_database
from acme_agent.settings import Settings
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from psycopg.conninfo import conninfo_to_dict

pytestmark = pytest.mark.anyio

PATIENCE = 10.0  # seconds that a test waits for an event
UNSTORABLE = "".join(chr(0x4E00 + number * 7 % 20_000) for number in range(3000))  # too long for an index, even packed
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def config(thread: str, checkpoint: Checkpoint | None = None) -> Any:
    ids = {"thread_id": thread, "checkpoint_ns": ""} | ({"checkpoint_id": checkpoint["id"]} if checkpoint else {})
    return {"configurable": ids}


def holding(value: object) -> Checkpoint:
    return {**empty_checkpoint(), "channel_values": {"value": value}, "channel_versions": {"value": "1"}}


def put(saver: PostgresSaver, thread: str, value: object = "here") -> Coroutine[Any, Any, Any]:
    return saver.aput(config(thread), holding(value), {}, {"value": "1"})


async def stored(saver: PostgresSaver, thread: str) -> Any:
    found = await saver.aget_tuple(config(thread))
    return found and found.checkpoint["channel_values"]["value"]


@asynccontextmanager
async def opened(url: str, settings: Settings, **changes: Any) -> AsyncIterator[PostgresSaver]:
    async with open_checkpointer(url, settings=settings.model_copy(update=changes)) as saver:
        assert isinstance(saver, PostgresSaver)
        yield saver


@pytest.fixture
def other(database: str) -> Iterator[psycopg.Connection[Any]]:
    """Return somebody else's connection to the database."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@contextmanager
def in_the_way(url: str, *threads: str) -> Iterator[None]:
    """Hold rows back: another transaction has inserted a write of each thread, and has not ended."""
    row = "INSERT INTO checkpoint_writes VALUES (%s, '', 'c', 't', 0, 'value', 'null', '', '')"
    with psycopg.connect(url) as connection:
        for thread in threads:
            connection.execute(row, (thread,))
        yield
        connection.rollback()


def held_back(saver: PostgresSaver, thread: str) -> Coroutine[Any, Any, None]:
    """Store the write that `in_the_way` holds back."""
    place: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": "c"}}
    return saver.aput_writes(place, [("value", "written")], "t")


async def until(other: psycopg.Connection[Any], waiting: int) -> None:
    """Return when that many statements wait for a lock in the database."""
    async with asyncio.timeout(PATIENCE):
        while other.execute(WAITING).fetchone() != (waiting,):  # noqa: ASYNC110 - an event of the server
            await asyncio.sleep(0.01)


async def test_runs_that_store_at_once_share_statements(database: str, settings: Settings) -> None:
    async with opened(database, settings) as saver:
        await asyncio.gather(*(put(saver, f"thread-{number}", number) for number in range(100)))
        figures = saver.figures
        assert figures.calls == 100
        assert figures.batches <= 5
        assert [await stored(saver, f"thread-{number}") for number in range(100)] == list(range(100))


async def test_a_lone_call_waits_for_nobody(database: str, settings: Settings) -> None:
    async with opened(database, settings) as saver:
        for number in range(5):
            await put(saver, f"thread-{number}")
            assert saver.figures.batches == number + 1


async def test_a_caller_returns_after_the_commit_and_not_before(
    database: str, settings: Settings, other: psycopg.Connection[Any]
) -> None:
    async with opened(database, settings) as saver:
        with in_the_way(database, "held"):
            writing = asyncio.create_task(held_back(saver, "held"))
            await until(other, waiting=1)
            assert not writing.done()
        await asyncio.wait_for(writing, PATIENCE)
        rows = other.execute("SELECT thread_id FROM checkpoint_writes").fetchall()
        assert rows == [("held",)]


async def test_a_checkpoint_never_overtakes_the_writes_before_it(
    database: str, settings: Settings, other: psycopg.Connection[Any]
) -> None:
    """Another batch is free to go; it takes the neighbour's checkpoint and leaves this thread's for later."""
    async with opened(database, settings) as saver:
        with in_the_way(database, "held"):
            writing = asyncio.create_task(held_back(saver, "held"))
            await until(other, waiting=1)
            following = asyncio.create_task(put(saver, "held"))
            await asyncio.wait_for(put(saver, "neighbour"), PATIENCE)
            assert other.execute("SELECT thread_id FROM checkpoints").fetchall() == [("neighbour",)]
            assert not following.done()
        await asyncio.wait_for(asyncio.gather(writing, following), PATIENCE)
        assert await stored(saver, "held") == "here"


@pytest.mark.parametrize("batches", [1, 3])
async def test_so_many_batches_are_under_way(
    database: str, settings: Settings, other: psycopg.Connection[Any], batches: int
) -> None:
    threads = [f"held-{number}" for number in range(4)]
    async with opened(database, settings, checkpoint_batches=batches) as saver:
        with in_the_way(database, *threads):
            writing = []
            for number, thread in enumerate(threads):
                writing.append(asyncio.create_task(held_back(saver, thread)))
                await until(other, waiting=min(number + 1, batches))
        await asyncio.wait_for(asyncio.gather(*writing), PATIENCE)


async def test_a_refused_row_fails_its_own_caller(database: str, settings: Settings) -> None:
    threads = [f"thread-{number}" for number in range(20)]
    threads[3] = threads[12] = UNSTORABLE
    async with opened(database, settings) as saver:
        outcomes = await asyncio.gather(*(put(saver, thread) for thread in threads), return_exceptions=True)
        assert [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Exception)] == [3, 12]
        assert isinstance(outcomes[3], CheckpointRefused)
        assert UNSTORABLE[:20] in str(outcomes[3])
        assert len(str(outcomes[3])) < 500
        assert saver.figures.refusals == 2
        for number, thread in enumerate(threads):
            assert (await stored(saver, thread) == "here") is (number not in {3, 12})


async def test_the_rest_of_a_refused_batch_is_not_sent_after_an_outage(
    make_database: Callable[..., str],
    template: str,
    admin_url: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would wait as long again, and be stored although what came before it is lost: all callers get one answer."""
    url = make_database(template)
    sent: list[list[str]] = []
    async with opened(url, settings, database_patience=1.0, database_timeout=1.0) as saver:
        send = saver._commit._send

        async def send_until_refused(parameters: dict[str, Any]) -> None:
            sent.append([row["thread_id"] for row in json.loads(parameters["checkpoints"])])
            try:
                await send(parameters)
            except psycopg.errors.ProgramLimitExceeded:
                drop_database(admin_url, str(conninfo_to_dict(url)["dbname"]))
                raise

        monkeypatch.setattr(saver._commit, "_send", send_until_refused)
        threads = ["a", "b", "c", UNSTORABLE]
        outcomes = await asyncio.gather(*(put(saver, thread) for thread in threads), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [DatabaseUnreachable] * len(threads)
        assert sent[0] == threads
        assert {thread for batch in sent[1:] for thread in batch} == {"a", "b"}


async def test_callers_wake_in_small_groups(database: str, settings: Settings) -> None:
    """Between two groups everything else gets its turn: a server's other requests, a lease that has to be renewed."""
    callers = 5 * postgres_commit.WAKE_CALLS
    happened: list[str] = []

    async def call(saver: PostgresSaver, number: int) -> None:
        await put(saver, f"thread-{number}")
        happened.append("woken")

    async def everything_else() -> None:
        while happened.count("woken") < callers:
            happened.append("turn")
            await asyncio.sleep(0)

    async with opened(database, settings) as saver:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(everything_else(), *(call(saver, number) for number in range(callers)))
        assert saver.figures.batches == 1
    at_once = [len(list(group)) for what, group in groupby(happened) if what == "woken"]
    assert sum(at_once) == callers
    assert max(at_once) <= postgres_commit.WAKE_CALLS


async def test_a_full_queue_makes_callers_wait(
    database: str, settings: Settings, other: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_commit, "QUEUE_SIZE", 20_000)
    async with opened(database, settings, checkpoint_batches=1) as saver:
        with in_the_way(database, "held"):
            calls = [asyncio.create_task(held_back(saver, "held"))]
            await until(other, waiting=1)
            calls += [asyncio.create_task(put(saver, f"thread-{number}", "x" * 5000)) for number in range(20)]
            await asyncio.sleep(0)  # each of them has begun
            assert 0 < saver.waiting <= 4
        await asyncio.wait_for(asyncio.gather(*calls), PATIENCE)
        assert all([await stored(saver, f"thread-{number}") for number in range(20)])


async def test_a_cancelled_caller_takes_nothing_along(
    database: str, settings: Settings, other: psycopg.Connection[Any]
) -> None:
    """What it wanted to store is stored: a node that has finished need not run again because its run was stopped."""
    async with opened(database, settings, checkpoint_batches=1) as saver:
        with in_the_way(database, "held"):
            first = asyncio.create_task(held_back(saver, "held"))
            await until(other, waiting=1)
            calls = [asyncio.create_task(put(saver, f"thread-{number}")) for number in range(4)]
            await asyncio.sleep(0)
            first.cancel()
            calls[1].cancel()
        await asyncio.wait(calls, timeout=PATIENCE)
        assert [call.cancelled() for call in (first, *calls)] == [True, False, True, False, False]
        assert [await stored(saver, f"thread-{number}") for number in range(4)] == ["here"] * 4
        assert other.execute("SELECT count(*) FROM checkpoint_writes").fetchone() == (1,)


async def test_closing_stores_what_waits(database: str, settings: Settings) -> None:
    async with opened(database, settings) as saver:
        calls = [asyncio.create_task(put(saver, f"thread-{number}")) for number in range(50)]
        await asyncio.sleep(0)  # each of them has begun
        assert not any(call.done() for call in calls)
    assert all(call.done() and not call.exception() for call in calls)
    with pytest.raises(RuntimeError, match="closed"):
        await put(saver, "too-late")


async def test_the_same_key_twice_in_a_batch(database: str, settings: Settings) -> None:
    """One after the other: the later checkpoint and the later interrupt win, the earlier ordinary write stays."""
    checkpoint = holding("here")
    place = config("thread", checkpoint)
    async with opened(database, settings) as saver:
        await asyncio.gather(
            saver.aput(config("thread"), checkpoint, {"step": 1}, {"value": "1"}),
            saver.aput(config("thread"), checkpoint, {"step": 2}, {"value": "1"}),
            saver.aput_writes(place, [("value", "first")], "task"),
            saver.aput_writes(place, [("value", "second")], "task"),
            saver.aput_writes(place, [("__interrupt__", "first")], "asks"),
            saver.aput_writes(place, [("__interrupt__", "second")], "asks"),
            saver.aput_writes(place, [("__error__", "first"), ("__error__", "second")], "fails"),
            saver.aput_writes(place, [("__resume__", "first"), ("value", "one"), ("__resume__", "second")], "goes on"),
        )
        found = await saver.aget_tuple(config("thread"))
        assert found
        assert found.metadata["step"] == 2
        assert sorted(found.pending_writes or []) == [
            ("asks", "__interrupt__", "second"),
            ("fails", "__error__", "second"),
            ("goes on", "__resume__", "first"),
            ("goes on", "value", "one"),
            ("task", "value", "first"),
        ]


async def test_calls_of_a_busy_thread_stay_in_their_order(database: str, settings: Settings) -> None:
    async with opened(database, settings) as saver:
        commit = saver._commit
        commit._busy.add("busy")
        calls = [asyncio.create_task(put(saver, thread)) for thread in ("busy", "busy", "free", "busy")]
        await asyncio.wait_for(calls[2], PATIENCE)
        before = list(commit._queue)
        assert commit._take() == []
        assert list(commit._queue) == before
        commit._busy.clear()
        commit._arrived.set()
        await asyncio.wait_for(asyncio.gather(*calls), PATIENCE)


async def test_a_call_larger_than_a_batch(database: str, settings: Settings) -> None:
    large = ["x" * 1000] * 3000
    async with opened(database, settings) as saver:
        await asyncio.gather(*(put(saver, f"thread-{number}", large) for number in range(3)))
        assert await stored(saver, "thread-2") == large
