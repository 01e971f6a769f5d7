"""The checkpointer over a store of items. A checkpoint is stored in one step, in which the run's lease is looked at."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from ..clock import follow
from ..errors import LeaseLost, StateLost
from ..fence import ENTRIES, INPUT, Fence, fence_of_checkpoint, fence_of_deletion, fence_of_writes, is_blank
from . import forms, keys
from .book import Books
from .forms import Place
from .items import Change, Expected, Items, Key, Span
from .store import ItemStore

PAGE = 100  # checkpoints that a listing looks at at once
LOADED = 8  # of them, whose values are read at once: each may be a whole state

Found = list[tuple[Place, bytes]]


class ItemSaver(BaseCheckpointSaver[str]):
    """Stores for a run only while its lease holds; LangGraph's interface, asynchronous methods only."""

    def __init__(self, items: Items, serde: SerializerProtocol) -> None:
        """Use a store that is open for as long as the saver is used."""
        super().__init__(serde=serde)
        self.items = items
        self._books = Books(items.now)

    @property
    def store(self) -> ItemStore:
        """What the ledger is kept in."""
        return ItemStore(self.items, self.serde, self._books)

    def close(self) -> None:
        """Let go of what is kept in memory; the items stay open."""
        self._books.close()

    async def facts(self) -> list[str]:
        """Return what the store says of itself, in words."""
        return await self.items.facts()

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Return a version that sorts behind `current`, and that no other branch of the thread has."""
        del channel
        number = int(str(current).partition(".")[0]) if current is not None else 0
        return f"{number + 1:032}.{random.random():016}"  # noqa: S311 - no secret

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Return when the checkpoint is stored. Raises LeaseLost, CheckpointRefused or ValueRefused."""
        puts = forms.checkpoint_items(self.serde, config, checkpoint, metadata, new_versions)
        parent, source = Place.of(config), metadata.get("source")
        if not parent.namespace and (source in ENTRIES or not parent.checkpoint):
            puts[keys.stored(parent.thread)] = b""
        fence = fence_of_checkpoint(parent.namespace, source)
        follows: dict[Key, Expected] = {}
        if self.items.forgets and fence and fence.continues and parent.checkpoint:
            follows[parent.key] = True
        try:
            await self._store(parent.thread, puts, fence, follows)
        except _Unexpected:
            raise StateLost(fence.run_id if fence else "", parent.checkpoint) from None
        return parent.config(checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Return when a task's writes are stored. Raises LeaseLost, CheckpointRefused or ValueRefused."""
        puts = forms.writes_items(self.serde, config, writes, task_id, task_path)
        replace = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        fence = fence_of_writes(channel for channel, _ in writes)
        await self._store(Place.of(config).thread, puts, fence, {} if replace else dict.fromkeys(puts))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that the config names, or the thread's newest."""
        if is_blank(config["configurable"]):
            return None
        place = Place.of(config)
        if place.checkpoint:
            (item,) = await self.items.get([place.key])
            loaded = await self._loaded(place, item) if item else None
        else:
            found = await self._newest(place, "", 1)
            loaded = await self._loaded(*found[0]) if found else None
        if loaded:
            follow(loaded.checkpoint["id"])
        return loaded

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - upstream's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, newest first."""
        left = limit
        async for page in self._pages(config, before, PAGE if filter or limit is None else min(PAGE, limit)):
            wanted = [pair for pair in page if self._matches(pair[1], filter)][:left]
            for start in range(0, len(wanted), LOADED):
                some = wanted[start : start + LOADED]
                for loaded in await asyncio.gather(*(self._loaded(place, item) for place, item in some)):
                    if loaded:
                        yield loaded
            left = None if left is None else left - len(wanted)
            if left == 0:
                return

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete a thread. Raises LeaseLost."""
        fence = fence_of_deletion()
        expects = _lease(thread_id, fence) if fence else {}
        change = Change(clears=[keys.state(thread_id)], drops=[keys.stored(thread_id)], expects=expects)
        if await self.items.change(change) and fence:
            raise LeaseLost(fence.run_id, fence.attempt)

    async def alist_threads(self, limit: int) -> list[str]:
        """Return the ids of at most `limit` threads, the one with the newest checkpoint first."""
        threads = await self._threads()
        spans = [_root(thread, limit=1, backwards=True, bare=True) for thread in threads]
        heads = await self.items.read(*spans)
        newest = {thread: head[0][0] for thread, head in zip(threads, heads, strict=True) if head}
        return sorted(newest, key=lambda thread: newest[thread], reverse=True)[:limit]

    async def _store(
        self, thread: str, puts: dict[Key, bytes], fence: Fence | None, expects: dict[Key, Expected]
    ) -> None:
        """Make the change under the lease, with what it gives; what is there and is expected not to be stays."""
        more, drops, ledger = dict[Key, bytes](), list[Key](), keys.ledger(thread)
        if fence:
            expects = {**expects, **_lease(thread, fence)}
            if fence.gives:
                more[ledger, keys.STAMP] = uuid4().bytes
            if fence.gives == INPUT:
                drops.append((ledger, keys.given(fence.run_id)))
            elif fence.gives:
                more[ledger, keys.delivered(fence.run_id, fence.gives)] = b""
        while failed := await self.items.change(Change(puts=puts | more, drops=drops, expects=expects)):
            if fence and failed[0] == ledger:
                raise LeaseLost(fence.run_id, fence.attempt)
            if expects[failed] is not None:
                raise _Unexpected
            puts = {key: item for key, item in puts.items() if key != failed}
            expects = {key: item for key, item in expects.items() if key != failed}

    async def _pages(
        self, config: RunnableConfig | None, before: RunnableConfig | None, size: int
    ) -> AsyncIterator[Found]:
        """Yield the checkpoints that a listing is about, newest first, without their values."""
        ids = (config or {}).get("configurable", {})
        end = Place.of(before).checkpoint if before else ""
        wanted, namespace = ids.get("checkpoint_id"), ids.get("checkpoint_ns")
        if "thread_id" in ids and namespace is not None and not wanted:
            place, page = Place(str(ids["thread_id"]), namespace, end), Found()
            while page := await self._newest(place, page[-1][0].checkpoint if page else end, size):
                yield page
            return
        threads = [str(ids["thread_id"])] if "thread_id" in ids else await self._threads()
        spaces = [namespace] if namespace is not None else []
        spans = [keys.below(keys.state(thread), "checkpoint", *spaces, bare=True) for thread in threads]
        places = [
            Place(thread, *keys.parts(key)[1:])
            for thread, items in zip(threads, await self.items.read(*spans), strict=True)
            for key, _ in items
        ]
        places = [place for place in places if place.checkpoint == (wanted or place.checkpoint)]
        places = [place for place in places if not end or place.checkpoint < end]
        places.sort(key=lambda place: (place.checkpoint, place.thread, place.namespace), reverse=True)
        for start in range(0, len(places), size):
            some = places[start : start + size]
            found = await self.items.get([place.key for place in some])
            yield [(place, item) for place, item in zip(some, found, strict=True) if item]

    async def _newest(self, place: Place, end: str, limit: int) -> Found:
        """Return the newest checkpoints of a namespace before the checkpoint `end`, if that is given."""
        span = keys.below(keys.state(place.thread), "checkpoint", place.namespace, limit=limit, backwards=True)
        if end:
            span = Span(span.partition, span.first, keys.checkpoint(place.namespace, end), limit, backwards=True)
        (found,) = await self.items.read(span)
        return [(place._replace(checkpoint=keys.parts(key)[2]), item) for key, item in found]

    async def _threads(self) -> list[str]:
        (found,) = await self.items.read(keys.entries("stored"))
        return [keys.parts(key)[1] for key, _ in found]

    async def _loaded(self, place: Place, item: bytes) -> CheckpointTuple | None:
        """Return a checkpoint with its values and writes; None if it has been deleted meanwhile."""
        wanted = forms.value_keys(place, item)
        writes = keys.below(keys.state(place.thread), "writes", place.namespace, place.checkpoint)
        values, (made,) = await asyncio.gather(self.items.get([*wanted.values(), place.key]), self.items.read(writes))
        if values.pop() is None:
            return None
        return forms.checkpoint_of(self.serde, place, item, dict(zip(wanted, values, strict=True)), made)

    def _matches(self, item: bytes, wanted: Mapping[str, Any] | None) -> bool:
        if not wanted:
            return True
        metadata = forms.metadata_of(self.serde, item)
        return all(metadata.get(name) == value for name, value in wanted.items())


class _Unexpected(Exception):
    """An item that is to be there is not."""


def _root(thread: str, **more: bool | int | None) -> Span:
    return keys.below(keys.state(thread), "checkpoint", "", **more)


def _lease(thread: str, fence: Fence) -> dict[Key, Expected]:
    return {(keys.ledger(thread), keys.lease(fence.run_id)): str(fence.attempt).encode()}
