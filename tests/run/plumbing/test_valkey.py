"""Valkey and Redis: what is particular to a server that may or may not keep what it is given."""

import asyncio
import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
import redis.asyncio
from acme_agent.persistence import (
    BadDatabaseUrl,
    DatabaseUnreachable,
    SealingImpossible,
    list_threads,
    migrate,
    open_checkpointer,
    open_ledger,
    valkey,
)
from acme_agent.persistence.items import Change, ItemSaver, Span
from acme_agent.persistence.urls import describe, normalise
from acme_agent.persistence.valkey import open_items
from acme_agent.persistence.valkey_errors import ForgetsKeys, NotPersistent, PrefixTaken
from acme_agent.readiness.servers.valkey_server import DURABLE, held_server, valkey_server
from acme_agent.settings import Settings
from langgraph.checkpoint.base import empty_checkpoint
from pydantic import SecretStr

from .conftest import store, thread

PASSWORD = "s3cr3t-Pa55w0rd"


@pytest.fixture(scope="session")
def careless() -> Iterator[str]:
    """A server that keeps nothing."""
    with valkey_server("--appendonly", "no") as url:
        yield url


@pytest.fixture
def client(valkey_url: str) -> Iterator["redis.Redis"]:
    """A client of the server, for a look at its keys."""
    with redis.Redis.from_url(valkey_url.partition("?")[0]) as client:
        yield client


def keys_of(client: "redis.Redis", url: str) -> set[str]:
    """Return the keys of the URL's prefix, without it."""
    prefix = f"{{{url.rpartition('=')[2]}}}:"
    found: Any = client.keys(f"{prefix.replace('[', '?')}*")  # Any: as Redis types it
    return {key.decode().removeprefix(prefix) for key in found}


@pytest.mark.parametrize("scheme", ["redis", "valkey", "REDIS"])
def test_a_url_is_read(scheme: str) -> None:
    assert normalise(f"{scheme}://u:p@h:6379/3?prefix=a") == "redis://u:p@h:6379/3?prefix=a"
    assert normalise("valkeys://h") == "rediss://h"
    assert describe(f"redis://u:{PASSWORD}@h:6379/0?prefix=x") == "redis://u@h:6379/0"


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (f"u:{PASSWORD}@h@more/0", "cannot be cut"),
        (f"u:{PASSWORD}/x@h/0", "cannot be cut"),
        ("h/zero", "not the number of a database"),
        ("h/0?ttl=3600", "would delete threads that wait.*AUDIT_WINDOW_DAYS"),
        ("h/0?db=1", "parameter 'db'; known are prefix and persistence"),
        ("h/0?prefix=a%20b", "prefix that is not"),
        ("h/0?persistence=yes", "persistence that is not managed"),
    ],
)
def test_a_bad_url_is_refused_without_repeating_it(rest: str, said: str) -> None:
    with pytest.raises(BadDatabaseUrl, match=said) as caught:
        normalise(f"redis://{rest}")
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


async def test_a_server_that_keeps_nothing_is_refused(careless: str, settings: Settings) -> None:
    with pytest.raises(NotPersistent, match="appendonly no: a restart would lose every thread"):
        await migrate(careless, settings=settings)
    async with open_checkpointer(f"{careless}?persistence=managed", settings=settings) as saver:
        await store(saver, "t", found="x")


async def test_a_server_that_says_nothing_is_refused(
    valkey_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As managed services do, which forbid CONFIG."""

    async def forbidden(*_: Any) -> Any:
        raise redis.ResponseError("unknown command 'CONFIG'")

    monkeypatch.setattr(redis.asyncio.Redis, "config_get", forbidden)
    with pytest.raises(NotPersistent, match=r"does not say.*\?persistence=managed"):
        await migrate(valkey_url, settings=settings)
    await migrate(f"{valkey_url}&persistence=managed", settings=settings)


async def test_a_server_that_drops_keys_is_refused(settings: Settings) -> None:
    with (
        valkey_server(*DURABLE, "--maxmemory-policy", "allkeys-lru") as url,
        pytest.raises(ForgetsKeys, match=r"allkeys-lru.*noeviction"),
    ):
        await migrate(url, settings=settings)


async def test_a_password_is_asked_for_and_not_shown(settings: Settings) -> None:
    with valkey_server(*DURABLE, "--requirepass", PASSWORD) as url:
        host = url.partition("://")[2]
        async with open_checkpointer(f"redis://:{PASSWORD}@{host}", settings=settings):
            pass
        for wrong in ("", f":{PASSWORD}x@"):
            with pytest.raises(DatabaseUnreachable, match="cannot be used") as caught:
                await migrate(f"redis://{wrong}{host}", settings=settings)
            assert PASSWORD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("managed", ["", "?persistence=managed"])
async def test_a_number_that_the_server_does_not_have_is_told(
    valkey_server_url: str, settings: Settings, managed: str
) -> None:
    with pytest.raises(DatabaseUnreachable, match="/99 cannot be used: DB index is out of range"):
        await migrate(valkey_server_url.removesuffix("/0") + "/99" + managed, settings=settings)


async def test_an_unreachable_server_is_given_up_in_time(settings: Settings) -> None:
    hasty = settings.model_copy(update={"database_timeout": 1.0})
    began = time.monotonic()
    with pytest.raises(DatabaseUnreachable, match=r"127\.0\.0\.1:1"):
        await migrate("redis://127.0.0.1:1/0", settings=hasty)
    assert time.monotonic() - began < 3


async def test_two_projects_do_not_share_a_prefix(
    valkey_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrate(valkey_url, settings=settings)
    monkeypatch.setattr(valkey, "PROGRAM", "another-agent")
    with pytest.raises(PrefixTaken, match=r"has threads of the project acme-agent under the prefix test-.*\?prefix="):
        await migrate(valkey_url, settings=settings)


async def test_a_key_is_refused(valkey_url: str, settings: Settings) -> None:
    sealed = settings.model_copy(update={"checkpoint_key": SecretStr("A" * 43 + "=")})
    with pytest.raises(SealingImpossible, match="is not sealed"):
        async with open_checkpointer(valkey_url, settings=sealed):
            pass


async def test_a_deleted_thread_leaves_nothing(valkey_url: str, settings: Settings, client: "redis.Redis") -> None:
    async with open_checkpointer(valkey_url, settings=settings) as saver:
        await migrate(valkey_url, settings=settings)
        before = keys_of(client, valkey_url)
        await store(saver, "t", found="x" * 1000)
        assert keys_of(client, valkey_url) > before
        await saver.adelete_thread("t")
        assert keys_of(client, valkey_url) == before


async def test_a_value_that_does_not_change_is_stored_once(
    valkey_url: str, settings: Settings, client: "redis.Redis"
) -> None:
    """5 MB, and ten checkpoints that hold them."""
    document = b"x" * 5_000_000
    async with open_checkpointer(valkey_url, settings=settings) as saver:
        config, checkpoint = thread("t"), empty_checkpoint()
        checkpoint["channel_values"] = {"document": document}
        checkpoint["channel_versions"] = {"document": saver.get_next_version(None, None)}
        for number in range(10):
            checkpoint["id"] = f"1f000000-0000-6000-8000-00000000000{number}"
            changed = checkpoint["channel_versions"] if number == 0 else {}
            config = await saver.aput(config, checkpoint, {"step": number}, changed)
        assert isinstance(saver, ItemSaver)
        size = client.memory_usage(f"{{{valkey_url.rpartition('=')[2]}}}:state:t", samples=0)
        assert isinstance(size, int)
        assert size < 6_500_000
        assert [len(found.checkpoint["channel_values"]["document"]) async for found in saver.alist(thread("t"))] == [
            len(document)
        ] * 10


async def test_a_change_is_made_as_a_whole_or_not_at_all(valkey_url: str, settings: Settings) -> None:
    async with open_items(valkey_url, settings) as items:
        one, other, third = ("p", "one"), ("q", "other"), ("p", "third")
        assert await items.change(Change(puts={one: b"1", other: b"2"}, expects={one: None})) is None
        assert await items.change(Change(puts={third: b"3"}, drops=[one], expects={one: b"1", other: b"x"})) == other
        assert await items.change(Change(puts={third: b"3"}, expects={one: None})) == one
        assert await items.get([one, other, third]) == [b"1", b"2", None]
        assert await items.change(Change(puts={third: b"3"}, drops=[one], expects={one: b"1"})) is None
        assert await items.read(Span("p"), Span("q", bare=True)) == [[("third", b"3")], [("other", b"")]]
        await items.change(Change(clears=["p"], puts={("p", "new"): b""}))
        assert await items.read(Span("p")) == [[("new", b"")]]


async def test_spans_are_cut_and_turned(valkey_url: str, settings: Settings) -> None:
    async with open_items(valkey_url, settings) as items:
        names = ["a", "b", "ba", "c", "é", "\U0001f600"]
        await items.change(Change(puts={("p", name): name.encode() for name in names}))

        async def keys(**what: Any) -> list[str]:
            (found,) = await items.read(Span("p", **what))
            assert all(item.decode() == key for key, item in found)
            return [key for key, _ in found]

        assert await keys() == names
        assert await keys(first="b", last="c") == ["b", "ba"]
        assert await keys(backwards=True, limit=2) == ["\U0001f600", "é"]
        assert await keys(first="b", last="c", backwards=True, limit=1) == ["ba"]
        assert await keys(first="z", last="é") == []


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """An event that comes when a call has failed and is judged, whether it passes."""
    event, judge = asyncio.Event(), valkey._passes

    def judged(error: redis.RedisError) -> bool:
        event.set()
        return judge(error)

    monkeypatch.setattr(valkey, "_passes", judged)
    return event


async def test_a_run_outlives_the_servers_crash(settings: Settings, refused: asyncio.Event) -> None:
    """Killed, and back: what was confirmed is there, and what was on its way is made again."""
    with held_server() as (url, server):
        async with open_checkpointer(url, settings=settings) as saver:
            for number in range(200):
                await store(saver, f"t{number}", found=str(number))
            await asyncio.to_thread(server.order, "away")
            late = asyncio.create_task(store(saver, "late", found="x"))
            asked = asyncio.create_task(list_threads(saver, 1000))
            await refused.wait()
            await asyncio.to_thread(server.order, "back")
            await late
            assert len(await asked) in {200, 201}
            assert len(await list_threads(saver, 1000)) == 201
            assert await open_ledger(saver).counts() == {}


async def test_an_outage_that_lasts_ends_in_an_error(settings: Settings) -> None:
    with held_server() as (url, server):
        async with open_checkpointer(url, settings=settings.model_copy(update={"database_patience": 1.0})) as saver:
            await asyncio.to_thread(server.order, "away")
            with pytest.raises(DatabaseUnreachable, match="cannot be used"):
                await store(saver, "t", found="x")


async def test_a_full_server_is_waited_for(settings: Settings, refused: asyncio.Event) -> None:
    """It refuses writes, and takes them as soon as there is room."""
    with valkey_server(*DURABLE) as url, redis.Redis.from_url(url) as client:
        async with open_checkpointer(url, settings=settings) as saver:
            client.config_set("maxmemory", "1")
            late = asyncio.create_task(store(saver, "t", found="x"))
            await refused.wait()
            assert not late.done()
            async with open_checkpointer(url, settings=settings) as another:  # who looks what is wrong can do so
                assert await list_threads(another, 10) == []
            client.config_set("maxmemory", "0")
            await late
            hasty = open_checkpointer(url, settings=settings.model_copy(update={"database_patience": 1.0}))
            async with hasty as another:
                client.config_set("min-replicas-to-write", "1")
                with pytest.raises(DatabaseUnreachable, match="NOREPLICAS"):
                    await store(another, "u", found="x")
