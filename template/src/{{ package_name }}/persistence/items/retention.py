"""Forgetting in a store of items: find threads by age, archive, delete, restore and shorten them.

What keeps a run's work safe. Who applies the policy reserves a thread before it is deleted: no run can begin on it, and
one that believes that it still has it is refused by its lease. A thread goes only if its newest checkpoint is still the
one from which its condition was read, with nothing pending; what a graph does outside of `Runs` in that very moment is
not seen. Where a store cannot clear a partition in one step, a thread that is half gone has lost its oldest
checkpoints first, and the next purge goes on.

The newest checkpoints stay when a thread is shortened, and with them every value that one of them names.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ormsgpack
from langgraph.checkpoint.base import BaseCheckpointSaver

from ..archive import Header, Row, archive_name, archived_chunks, check_archive, new_archive
from ..errors import ArchiveUnknown, HistoryNeeded, ThreadExists
from ..retention import Rows, StoredThread
from . import keys
from .items import Change, Items, Key, Span
from .saver import ItemSaver

SCHEMA = 1  # of the items
TABLE = "items"  # what an archive has instead of a table
AT_ONCE = 50  # items of an archive that are read or stored at once: each may hold a whole value
DROPPED = 1000  # items that are dropped in one step
SPREAD = ("counters_since_delta_snapshot", "delta_writes_versioned")  # in the metadata: a DeltaChannel counts there


def open_retention(checkpointer: BaseCheckpointSaver[str]) -> "ItemRetention":
    """Return the retention over the checkpointer's store."""
    if not isinstance(checkpointer, ItemSaver):
        raise TypeError(f"{type(checkpointer).__name__} has no store: use one that open_checkpointer yields")
    return ItemRetention(checkpointer)


class ItemRetention:
    """Implements Retention."""

    def __init__(self, saver: ItemSaver) -> None:
        """Take the saver of the store."""
        self._saver = saver
        self._items: Items = saver.items

    async def estimate(self) -> int | None:
        """Return how many threads there are."""
        (found,) = await self._items.read(keys.entries("stored"))
        return len(found)

    async def page(self, after: str, limit: int, keep: int | None) -> list[StoredThread]:
        """Return the threads that follow `after` in the order of ids."""
        (entries,) = await self._items.read(keys.entries("stored", after, limit))
        threads = [keys.parts(key)[1] for key, _ in entries]
        spans = [keys.below(keys.state(thread), "checkpoint", bare=True) for thread in threads]
        places = [[keys.parts(key)[1:] for key, _ in found] for found in await self._items.read(*spans)]
        heads = [max((id_ for namespace, id_ in found if not namespace), default="") for found in places]
        asked = await self._items.read(*(_pending(*pair) for pair in zip(threads, heads, strict=True)))
        return [
            StoredThread(
                thread,
                head,
                head or max((id_ for _, id_ in found), default=""),
                asks=any(channel == "__interrupt__" for channel in _channels(pending)),
                long=keep is not None and max(Counter(namespace for namespace, _ in found).values(), default=0) > keep,
            )
            for thread, head, found, pending in zip(threads, heads, places, asked, strict=True)
        ]

    async def count(self, thread: str) -> Rows:
        """Return how many items of each kind the thread has."""
        return _rows(await self._keys(thread))

    async def present(self, threads: Sequence[str]) -> list[str]:
        """Return those of the threads that have any item."""
        found = await self._items.read(*(Span(keys.state(thread), limit=1, bare=True) for thread in threads))
        return sorted(thread for thread, items in zip(threads, found, strict=True) if items)

    async def delete(self, thread: str, head: str, expected: Rows | None = None) -> Rows | None:
        """Delete the thread, or nothing if it is not as it was when the decision was taken."""
        partition = keys.state(thread)
        found, pending = await self._items.read(Span(partition, bare=True), _pending(thread, head))
        names = [key for key, _ in found]
        newest = max((key for key in names if key.startswith(_root())), default="")
        rows = _rows(names)
        if newest != (keys.checkpoint("", head) if head else "") or pending or not rows.total:
            return None
        if expected not in {None, rows}:
            return None
        expects = {(partition, newest): (await self._items.get([(partition, newest)]))[0]} if newest else {}
        change = Change(clears=[partition], drops=[keys.stored(thread)], expects=expects)
        return None if await self._items.change(change) else rows

    async def trim(self, thread: str, keep: int, *, dry_run: bool = False) -> Rows | None:
        """Keep the newest `keep` checkpoints of each namespace."""
        partition = keys.state(thread)
        listed, others = await self._items.read(
            keys.below(partition, "checkpoint"), Span(partition, "checkpoint" + keys.AFTER, bare=True)
        )
        entries = {tuple(keys.parts(key)[1:]): ormsgpack.unpackb(item) for key, item in listed}
        gone = _too_old(self._roots(thread, entries), keep)
        kept = {place: entry for place, entry in entries.items() if place not in gone}
        if dry_run:
            return Rows(checkpoints=len(gone))
        used = {
            keys.value(place[0], name, version)
            for place, entry in kept.items()
            for name, version in entry["values"].items()
        }
        spaces = {namespace for namespace, _ in gone}
        values, writes = [], []
        for key, _ in others:
            kind, namespace, *rest = keys.parts(key)
            if kind == "value" and namespace in spaces and key not in used:
                values.append(key)
            elif kind == "writes" and (namespace, rest[0]) in gone:
                writes.append(key)
        orphans = {
            (partition, keys.checkpoint(*place)): ormsgpack.packb({**entry, "parent": ""})
            for place, entry in kept.items()
            if (place[0], entry["parent"]) in gone
        }
        if orphans:
            await self._items.change(Change(puts=orphans))
        checkpoints = [keys.checkpoint(*place) for place in sorted(gone, key=lambda place: place[1])]
        await self._drop(partition, [*writes, *checkpoints, *values])
        return Rows(len(checkpoints), len(values), len(writes))

    async def archive(self, thread: str, head: str, folder: Path) -> tuple[Path, Rows]:
        """Write the thread's items to a file in `folder`."""
        path, partition = folder / archive_name(thread, head), keys.state(thread)
        names = await self._keys(thread)
        async with new_archive(path, Header(thread, head, SCHEMA, {TABLE: len(names)})) as writer:
            for start in range(0, len(names), AT_ONCE):
                chunk = names[start : start + AT_ONCE]
                found = await self._items.get([(partition, key) for key in chunk])
                rows: list[Row] = [{"key": key, "item": item or b""} for key, item in zip(chunk, found, strict=True)]
                await asyncio.to_thread(writer.rows, TABLE, rows)
        return path, _rows(names)

    async def restore(self, file: Path) -> tuple[str, Rows]:
        """Bring an archived thread back: its checkpoints last, and the entry that lists it at the very end."""
        header = await asyncio.to_thread(check_archive, file)
        if header.rows.keys() != {TABLE}:
            raise ArchiveUnknown(file, f"rows of another backend, in {', '.join(header.rows)}")
        if header.schema > SCHEMA:
            raise ArchiveUnknown(file, f"schema {header.schema}, and this program knows {SCHEMA}")
        thread = header.thread_id
        if await self.present([thread]):
            raise ThreadExists(thread)
        for checkpoints in (False, True):
            chunks = archived_chunks(file)
            while chunk := await asyncio.to_thread(next, chunks, None):
                rows = [row for row in chunk[1] if str(row["key"]).startswith("checkpoint") == checkpoints]
                for start in range(0, len(rows), AT_ONCE):
                    await self._items.change(Change(puts=_puts(thread, rows[start : start + AT_ONCE])))
        await self._items.change(Change(puts={keys.stored(thread): b""}))
        return thread, await self.count(thread)

    async def _keys(self, thread: str) -> list[str]:
        (found,) = await self._items.read(Span(keys.state(thread), bare=True))
        return [key for key, _ in found]

    async def _drop(self, partition: str, names: list[str]) -> None:
        for start in range(0, len(names), DROPPED):
            await self._items.change(Change(drops=[(partition, key) for key in names[start : start + DROPPED]]))

    def _roots(self, thread: str, entries: dict[tuple[str, ...], Any]) -> dict[tuple[str, ...], str]:
        """Return of each checkpoint the root graph's one that it belongs to. Raises HistoryNeeded. Any: an item."""
        roots = {}
        for place, entry in entries.items():
            metadata = self._saver.serde.loads_typed((entry["metadata"][0], entry["metadata"][1]))
            if any(metadata.get(name) is not None for name in SPREAD):
                raise HistoryNeeded(thread)
            roots[place] = str((metadata.get("parents") or {}).get("", ""))
        return roots


def _too_old(roots: dict[tuple[str, ...], str], keep: int) -> set[tuple[str, ...]]:
    """Return the places of the checkpoints that go.

    The namespace of a call has its task's id behind a colon; that of a sub-graph which outlives its calls has none. A
    call goes with the root checkpoint that it began from, if that one is stored: a call may be stored before it.
    """
    spaces: dict[str, list[str]] = {}
    for namespace, id_ in sorted(roots, reverse=True):
        spaces.setdefault(namespace, []).append(id_)
    gone: set[tuple[str, ...]] = set()
    floor = spaces.get("", [""])[:keep][-1]
    for namespace, ids in spaces.items():
        root = roots[namespace, ids[0]]
        is_call = ":" in namespace and root in spaces.get("", []) and root < floor
        gone |= {(namespace, id_) for id_ in (ids if is_call else ids[keep:])}
    return gone


def _puts(thread: str, rows: Iterable[Row]) -> dict[Key, bytes]:
    return {(keys.state(thread), str(row["key"])): _bytes(row["item"]) for row in rows}


def _bytes(item: str | int | bytes | None) -> bytes:
    return item if isinstance(item, bytes) else b""


def _pending(thread: str, head: str) -> Span:
    return keys.below(keys.state(thread), "writes", "", head)


def _channels(pending: list[tuple[str, bytes]]) -> list[str]:
    return [channel for _, item in pending for _, channel, _ in ormsgpack.unpackb(item)[1]]


def _root() -> str:
    return keys.key("checkpoint", "") + keys.SEPARATOR


def _rows(names: Iterable[str]) -> Rows:
    kinds = Counter(keys.parts(name)[0] for name in names)
    return Rows(kinds["checkpoint"], kinds["value"], kinds["writes"])
