"""Threads in Valkey or Redis: state in a server's memory, and on its disk as far as that is set up.

Every change is one script on the server, so it is made as a whole, and nothing happens between what it expects and what
it does. What is answered has been handed to the append-only file: with `appendfsync always` it is on the disk, with
`everysec` it is there within about a second, or two if the disk is slow, which is what a power failure costs.

A checkpoint expects its parent. So when a server comes back without its last second, a run that goes on is stopped, and
begun again from the last checkpoint that there is, by whoever finds it.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any, TypeVar

import redis.asyncio as redis
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004 - its name
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - its name
    TryAgainError,
)
from redis.retry import Retry

from ..errors import PROGRAM
from ..settings import Settings
from . import valkey_scripts as scripts
from .errors import DatabaseUnreachable
from .items import Change, ItemSaver, Key, Span
from .urls import describe
from .valkey_cancelling import heeding
from .valkey_errors import ForgetsKeys, NotPersistent, PrefixTaken
from .valkey_url import is_managed, prefix_of, server_of

T = TypeVar("T")

KEEPING = ("noeviction", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl")  # no key has a TTL
LOOK = 0.05  # seconds between two looks for changes of other processes
FIRST_PAUSE = 0.05  # seconds before a call is made again; twice as long each time, up to
LONGEST_PAUSE = 1.0  # seconds
_PASSING = (
    ConnectionError,
    TimeoutError,
    BusyLoadingError,
    MasterDownError,
    OutOfMemoryError,  # until there is room again
    ReadOnlyError,  # after a failover, until the name leads to the new primary
    TryAgainError,
)
_FINAL = (AuthenticationError, NoPermissionError)  # are ConnectionErrors in part, and do not pass
_WRONG_NUMBER = "DB index"  # of the URL, and no mistake in what was asked
_PASSING_WORDS = ("MISCONF", "NOREPLICAS")  # the server says no, and may say yes later


class ValkeyItems:
    """See `items`."""

    forgets = True

    def __init__(self, client: "redis.Redis", settings: Settings, prefix: str, where: str) -> None:
        """Use a client that is open for as long as the items are."""
        self.where = where
        self._client = client
        self.patience = settings.database_timeout  # seconds that a call waits out an outage; `open_items` raises it
        self._prefix = f"{{{prefix}}}:"  # in braces: a cluster keeps on one node what is changed in one step
        self._read, self._get, self._change = map(client.register_script, (scripts.READ, scripts.GET, scripts.CHANGE))
        self._ahead = 0.0  # seconds that the server's clock is ahead of this machine's
        self._own = self._seen = 0

    def now(self) -> float:
        """Return the time of the server's clock, as its last answer had it."""
        return time.time() + self._ahead

    async def get(self, keys: Sequence[Key]) -> list[bytes | None]:
        """Return items; one of them after the other, and nothing happens between them."""
        if not keys:
            return []
        found: list[bytes | None] = await self._called(
            self._get, [self._hash(partition) for partition, _ in keys], [key for _, key in keys]
        )
        return found

    async def read(self, *spans: Span) -> list[list[tuple[str, bytes]]]:
        """Return the items of spans, as they all are at one moment."""
        if not spans:
            return []
        names = [name for span in spans for name in self._both(span.partition)]
        arguments: list[str | int] = []
        for span in spans:
            limit = -1 if span.limit is None else span.limit
            arguments += [span.first, span.last, limit, int(span.backwards), int(span.bare)]
        found = await self._called(self._read, names, arguments)
        return [
            [(key.decode(), item) for key, item in zip(keys, items or [b""] * len(keys), strict=True)]
            for keys, items in found
        ]

    async def change(self, change: Change) -> Key | None:
        """Make a change in one step."""
        names = [self._prefix + "changes"]
        for partition in (
            *(key[0] for key in change.expects),
            *(key[0] for key in change.puts),
            *(key[0] for key in change.drops),
            *change.clears,
        ):
            names += self._both(partition)
        numbers = [len(change.expects), len(change.puts), len(change.drops), len(change.clears)]
        arguments: list[str | int | bytes] = [*numbers, int(change.announce)]
        for (_, key), item in change.expects.items():
            arguments += [key, "-", b""] if item is None else [key, "+", b""] if item is True else [key, "=", item]
        for (_, key), item in change.puts.items():
            arguments += [key, item]
        arguments += [key for _, key in change.drops]
        failed: int = await self._called(self._change, names, arguments)
        if failed:
            return list(change.expects)[failed - 1]
        if change.announce:
            self._own += 1
        return None

    @property
    def ticks(self) -> int:
        """Grows with every announced change that this process hears of."""
        return self._own + self._seen

    async def changes(self, since: int, pause: float) -> None:
        """Return when there was an announced change, or after `pause` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + pause
        before = await self._counter()
        while self.ticks == since and loop.time() < deadline:
            await asyncio.sleep(min(LOOK, pause))
            if await self._counter() != before:
                self._seen += 1

    async def setting(self, name: str) -> str:
        """Return a setting of the server; empty where it does not say."""
        try:
            found = await self.patiently(lambda: self._client.config_get(name))
        except ResponseError:  # managed services forbid CONFIG
            return ""
        return str({_text(key): _text(value) for key, value in found.items()}.get(name, ""))

    async def facts(self) -> list[str]:
        """Return the server's version, how it persists, and how full it is."""
        found = await self.patiently(self._client.info)
        fsync, policy = await self.setting("appendfsync"), await self.setting("maxmemory-policy")
        name, version = ("Valkey", found["valkey_version"]) if "valkey_version" in found else ("Redis", _version(found))
        most = f"of {found['maxmemory_human']}" if found.get("maxmemory") else "without a limit"
        return [
            f"{name} {version}, {found.get('role', 'unknown role')}, {found.get('connected_slaves', 0)} replicas",
            f"append-only file {'on' if found.get('aof_enabled') else 'off'}, appendfsync {fsync or 'not said'}",
            f"last write to it: {found.get('aof_last_write_status', 'not said')}",
            f"{found.get('used_memory_human', '?')} of memory used, {most}, {policy or 'policy not said'}",
        ]

    async def owner(self, program: str) -> str:
        """Return whose prefix it is: this program's, if it is nobody's yet."""
        key = self._prefix + "owner"
        found = await self.patiently(lambda: self._client.get(key))  # a full server answers, and takes nothing
        if found is None:
            await self.patiently(lambda: self._client.set(key, program, nx=True))
            found = await self.patiently(lambda: self._client.get(key))
        return _text(found)

    async def patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what a call returns, which is repeated while the server is away. Raises DatabaseUnreachable."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self.patience, FIRST_PAUSE
        while True:
            try:
                return await heeding(call())
            except RedisError as error:
                if isinstance(error, ResponseError) and not isinstance(error, _FINAL) and not _passes(error):
                    if _WRONG_NUMBER in str(error):
                        raise DatabaseUnreachable(self.where, _reason(error)) from error
                    raise  # a mistake in what was asked
                if not _passes(error) or loop.time() + pause > deadline:
                    raise DatabaseUnreachable(self.where, _reason(error)) from error
                if isinstance(error, ReadOnlyError):  # the name may lead elsewhere by now
                    await self._client.connection_pool.disconnect()
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads the processes
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _called(self, script: Any, names: list[str], arguments: Sequence[Any]) -> Any:  # Any: as Redis types it
        (seconds, micros), answer = await self.patiently(lambda: script(keys=names, args=arguments))
        self._ahead = int(seconds) + int(micros) / 1e6 - time.time()
        return answer

    async def _counter(self) -> object:
        return await self.patiently(lambda: self._client.get(self._prefix + "changes"))

    def _hash(self, partition: str) -> str:
        return self._prefix + partition

    def _both(self, partition: str) -> list[str]:
        return [self._prefix + partition, f"{self._prefix}keys:{partition}"]


@asynccontextmanager
async def open_saver(url: str, settings: Settings, serde: JsonPlusSerializer) -> AsyncIterator[ItemSaver]:
    """Yield a saver over a pool of connections."""
    async with open_items(url, settings) as items:
        with closing(ItemSaver(items, serde)) as saver:
            yield saver


async def migrate(url: str, settings: Settings, wait: float) -> list[str]:
    """Look whether the server can be used; there is nothing to make in it."""
    del wait
    async with open_items(url, settings):
        return []


@asynccontextmanager
async def open_items(url: str, settings: Settings) -> AsyncIterator[ValkeyItems]:
    """Yield the items of a server that answers, and keeps what it is given.

    Raises DatabaseUnreachable, NotPersistent, ForgetsKeys or PrefixTaken.
    """
    pool = redis.BlockingConnectionPool.from_url(
        server_of(url),
        max_connections=settings.database_pool_max,
        timeout=settings.database_patience,  # for a connection that is free
        socket_timeout=settings.database_timeout,
        socket_connect_timeout=settings.database_timeout,
        retry=Retry(NoBackoff(), 0),  # it is done here, where it is known for how long
    )
    client = redis.Redis.from_pool(pool)
    try:
        items = ValkeyItems(client, settings, prefix_of(url), describe(url))
        await check(items, url)
        items.patience = settings.database_patience
        yield items
    finally:
        await client.aclose()


async def check(items: ValkeyItems, url: str) -> None:
    """Look whether the server keeps what it is given, and whether the prefix is this project's."""
    if not is_managed(url):
        found = {name: await items.setting(name) for name in ("appendonly", "maxmemory-policy")}
        if found["appendonly"] != "yes":
            raise NotPersistent(items.where, found["appendonly"])
        if found["maxmemory-policy"] not in KEEPING:
            raise ForgetsKeys(items.where, found["maxmemory-policy"])
    owner = await items.owner(PROGRAM)
    if owner != PROGRAM:
        raise PrefixTaken(items.where, prefix_of(url), owner)


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def _version(info: dict[str, Any]) -> str:  # Any: numbers and texts
    return str(info.get("redis_version", "unknown"))


def _passes(error: RedisError) -> bool:
    if isinstance(error, _FINAL):
        return False
    return isinstance(error, _PASSING) or str(error).startswith(_PASSING_WORDS)


def _reason(error: RedisError) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
