"""Copying threads from one database to another, of the same kind or not: all that they are, and nothing by halves.

A thread is copied with its checkpoints, in all namespaces, the writes that are pending between them, its runs, its
questions and its audit. Ids stay, so what a node has done under an idempotency key is known by the same key. Values go
through the savers one by one: how a database keeps them is its own affair, and what is sealed is sealed anew.

The copy is reserved in the target until it has been read back and compared; then the ledger's part is added in one
transaction. So a copy that is killed leaves reserved threads, which the next one begins again, and whole ones, which it
passes over. The source is only read: a thread that moves on meanwhile is copied again.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from pydantic import SecretStr

from ..agent import AgentSettings
from ..errors import ProjectError
from ..persistence import (
    DatabaseUnreachable,
    Entries,
    Fence,
    LeaseLost,
    Run,
    drop_reservation,
    fenced,
    open_retention,
    put_entries,
    take_entries,
    threads_in_ledger,
)
from ..persistence.sqlite_url import sqlite_path
from ..persistence.urls import backend_of, describe, normalise
from .errors import WrongRequest
from .forking import copy_checkpoint
from .opening import open_runs
from .reservation import purpose_of, reserve
from .retention import Looked
from .runs import Runs
from .status import is_abandoned
from .threads import ThreadId

PURPOSE = "copy"
AT_ONCE = 8  # threads
PAGE = 1000  # threads whose ids are read at once
TRIES = 3  # of one that moves on while it is copied

Outcome = Literal["copied", "there", "at work", "differs", "failed"]
"""there: it had been copied before. at work: a process executes it. differs: the target has another thread of this id,
or one that has gone on since it was copied; it is left alone."""


@dataclass(frozen=True)
class Copied:
    """What became of a thread."""

    thread_id: str
    outcome: Outcome
    text: str = ""


CopyListener = Callable[[Copied | Looked], None]


def settings_at(settings: AgentSettings, url: str) -> AgentSettings:
    """Return the settings for another database than DATABASE_URL's.

    DATABASE_DIRECT_URL is for that one, and so is the key where the other does not seal. Raises BadDatabaseUrl.
    """
    if url == settings.checkpoint_url:
        return settings
    changed = {"database_url": SecretStr(url), "database_direct_url": SecretStr("")}
    if not backend_of(url).SEALS:
        changed |= {"checkpoint_key": SecretStr(""), "checkpoint_key_old": SecretStr("")}
    return settings.model_copy(update=changed)


async def copy_threads(source: AgentSettings, target: AgentSettings, listener: CopyListener) -> Counter[Outcome]:
    """Copy every thread of one database into another, and return how many had each outcome.

    Raises WrongRequest if that cannot be meant, and the errors of `open_checkpointer` for either.
    """
    old_url, new_url = (normalise(settings.checkpoint_url) for settings in (source, target))
    if old_url == new_url:
        raise WrongRequest(f"both URLs name {describe(old_url)}: name the database to copy to as the second one")
    if old_url.startswith("sqlite:") and not await asyncio.to_thread(sqlite_path(old_url).is_file):
        raise WrongRequest(f"there is no {describe(old_url)} to copy from")
    outcomes: Counter[Outcome] = Counter()
    async with AsyncExitStack() as opened:
        old, new = [await opened.enter_async_context(open_runs(settings)) for settings in (source, target)]
        threads = await _threads(old)
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(thread: str) -> None:
            async with limit:
                try:
                    copied = await _copy(old, new, ThreadId(thread))
                except DatabaseUnreachable:
                    raise
                except LeaseLost:
                    copied = Copied(thread, "at work", "another process copies it")
                except ProjectError as error:  # of this thread alone, such as a value that cannot be read
                    copied = Copied(thread, "failed", str(error))
            outcomes[copied.outcome] += 1
            listener(copied)
            listener(Looked(outcomes.total(), len(threads)))

        listener(Looked(0, len(threads)))
        try:
            async with asyncio.TaskGroup() as group:
                for thread in threads:
                    group.create_task(one(thread))
        except* DatabaseUnreachable as errors:
            raise errors.exceptions[0] from None
    return outcomes


async def _threads(runs: Runs) -> list[str]:
    """Return the ids of the threads that have a checkpoint, or a run that has none yet, or were deleted."""
    found: set[str] = set()
    after = ""
    while page := await threads_in_ledger(runs.ledger, after):
        found |= set(page)
        after = page[-1]
    retention, after = open_retention(runs.settings.checkpoint_url, runs.checkpointer), ""
    while stored := await retention.page(after, PAGE, None):
        found |= {thread.thread_id for thread in stored if thread.head}
        after = stored[-1].thread_id
    return sorted(found)


async def _copy(source: Runs, target: Runs, thread: ThreadId) -> Copied:
    for _ in range(TRIES):
        if at_work := _executed(await source.ledger.line(thread)):
            return Copied(thread, "at work", f"run {at_work.run_id}: copy it when that is over")
        entries, head = await take_entries(source.ledger, thread), await _head(source, thread)
        if other := await _in_the_way(source, target, thread, entries):
            return other
        if copied := await _copy_once(source, target, thread, entries, head):
            return copied
    return Copied(thread, "at work", "it moved on while it was copied: copy it when it is over")


async def _copy_once(
    source: Runs, target: Runs, thread: ThreadId, entries: Entries, head: tuple[str, int] | None
) -> Copied | None:
    """Copy a thread as it was when its entries were taken; None if it moved on meanwhile, and nothing is copied."""
    reservation = await reserve(target.ledger, thread, PURPOSE)
    if reservation is None:
        return Copied(thread, "differs", "a run of it has begun in the target")
    async with target.keeper.keeping(reservation):
        try:
            with fenced(Fence(reservation.run_id, reservation.attempt)):
                await _copy_checkpoints(source, target, thread)
            wrong = await _difference(source, target, thread)
            moved = (await take_entries(source.ledger, thread), await _head(source, thread)) != (entries, head)
            if not wrong and not moved:
                await put_entries(target.ledger, entries, reservation)
                return Copied(thread, "copied")
        except BaseException:
            with suppress(LeaseLost):  # whoever has taken this process for dead copies the thread, or has: it is theirs
                await _take_back(target, thread, reservation)
            raise
        await _take_back(target, thread, reservation)
    return None if moved else Copied(thread, "failed", f"what was read back is not what was written: {wrong}")


async def _take_back(target: Runs, thread: ThreadId, reservation: Run) -> None:
    """Delete what was copied under a reservation. Raises LeaseLost if another process has seen to it."""
    with fenced(Fence(reservation.run_id, reservation.attempt)):
        await target.checkpointer.adelete_thread(thread)
    await drop_reservation(target.ledger, reservation)


async def _in_the_way(source: Runs, target: Runs, thread: ThreadId, entries: Entries) -> Copied | None:
    """Return what the target's thread of this id means; None if there is none, or only a copy that was not finished."""
    for run in await target.ledger.line(thread):
        if run.has_input and purpose_of(await target.ledger.payload(run)) == PURPOSE:
            if not is_abandoned(run):
                return Copied(thread, "at work", "another process copies it")
            await _take_back(target, thread, run)
    there = await take_entries(target.ledger, thread)
    if not there.runs and not there.audit and await _head(target, thread) is None:
        return None
    audited = entries.audit == there.audit[: len(entries.audit)]  # it may have gone on, but not otherwise
    if audited and _ids(entries.runs) == _ids(there.runs) and not await _difference(source, target, thread):
        return Copied(thread, "there")
    return Copied(thread, "differs", "the target has a thread of this id, which is left as it is")


async def _copy_checkpoints(source: Runs, target: Runs, thread: ThreadId) -> None:
    async for found in source.checkpointer.alist(_all_of(thread)):
        await copy_checkpoint(target.checkpointer, found, thread, with_writes=True)


async def _difference(source: Runs, target: Runs, thread: ThreadId) -> str:
    """Return where the thread's checkpoints are not the same; nothing if they are."""
    theirs = aiter(target.checkpointer.alist(_all_of(thread)))
    async for one in source.checkpointer.alist(_all_of(thread)):
        other = await anext(theirs, None)
        for name, mine, its in zip(_NAMES, _facts(one), _facts(other), strict=True):
            if not _same(source.checkpointer, mine, its):
                return f"the {name} of checkpoint {one.checkpoint['id']}"
    return "" if await anext(theirs, None) is None else "there are more checkpoints"


def _all_of(thread: ThreadId) -> RunnableConfig:
    """Return the config of a thread's checkpoints in all namespaces."""
    return {"configurable": {"thread_id": thread}}


_NAMES = ("place", "values", "channels", "metadata", "parent", "pending writes")


def _facts(found: CheckpointTuple | None) -> tuple[Any, ...]:  # Any: values of the state
    if found is None:
        return (None,) * len(_NAMES)
    rest = {key: found.checkpoint[key] for key in ("id", "ts", "channel_versions", "versions_seen")}
    parent = (found.parent_config or {}).get("configurable", {}).get("checkpoint_id")
    writes = {f"{task} {channel} {number}": value for number, (task, channel, value) in enumerate(_sorted(found))}
    place = found.config["configurable"].get("checkpoint_ns", "")
    return place, found.checkpoint["channel_values"], rest, found.metadata, parent, writes


def _sorted(found: CheckpointTuple) -> list[tuple[str, str, Any]]:  # Any: as above
    return sorted(found.pending_writes or [], key=lambda write: write[:2])


def _same(checkpointer: BaseCheckpointSaver[str], one: Any, other: Any) -> bool:  # Any: as above
    """Compare values as they are stored: of two arrays, or two NaN, == tells nothing."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(checkpointer, one[key], other[key]) for key in one)
    pack = checkpointer.serde.dumps_typed
    return pack(one) == pack(other) or bool(one == other)


async def _head(runs: Runs, thread: ThreadId) -> tuple[str, int] | None:
    """Return the newest checkpoint and how many writes are pending on it; None for a thread without checkpoints."""
    found = await runs.checkpointer.aget_tuple(_all_of(thread))
    return (found.checkpoint["id"], len(found.pending_writes or [])) if found else None


def _executed(line: list[Run]) -> Run | None:
    return next((run for run in line if run.status == "running" and not is_abandoned(run)), None)


def _ids(runs: list[dict[str, Any]]) -> list[str]:  # Any: columns
    return [run["run_id"] for run in runs]
