"""Copying threads from one database to another, of the same kind or not: all that they are, and nothing by halves.

A thread is copied with its checkpoints, in all namespaces, the writes that are pending between them, its runs, its
questions and its audit. Ids stay, so what a node has done under an idempotency key is known by the same key. Values go
through the savers one by one: how a database keeps them is its own affair, and what is sealed is sealed anew.

The copy is reserved in the target until it has been read back and compared; then the ledger's part is added in one
transaction. So a copy that is killed leaves reserved threads, which the next one begins again, and whole ones, which it
passes over; whoever ends such a reservation, as `resume` and workers do, leaves nothing in the way of the next one.
The source is only read: a thread that moves on meanwhile is copied again.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote
from uuid import uuid4

from pydantic import SecretStr

from ..agent import AgentSettings
from ..errors import ProjectError
from ..persistence import (
    DatabaseUnreachable,
    Entries,
    Fence,
    LeaseLost,
    Run,
    SchemaMissing,
    drop_reservation,
    fenced,
    open_retention,
    put_entries,
    take_entries,
    threads_in_ledger,
)
from ..persistence.sqlite_url import sqlite_path
from ..persistence.urls import backend_of, describe, normalise
from .comparing import all_of, difference
from .errors import WrongRequest
from .forking import copy_checkpoint
from .opening import open_runs
from .reservation import COPY, is_copy, purpose_of, reserve
from .retention import Looked
from .runs import Runs
from .status import is_abandoned
from .threads import ThreadId

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
    if old_url.startswith("sqlite:"):
        await asyncio.to_thread(_check_file, old_url)
    outcomes: Counter[Outcome] = Counter()
    async with AsyncExitStack() as opened:
        old = await opened.enter_async_context(open_runs(source))
        try:
            new = await opened.enter_async_context(open_runs(target))
        except SchemaMissing as missing:
            raise WrongRequest(f"{missing}; for that, DATABASE_URL is the second URL") from missing
        if await _is_the_same(old, new):
            raise WrongRequest(f"both URLs name {describe(old_url)}: name the database to copy to as the second one")
        threads = await _threads(old)
        if not threads:
            raise WrongRequest(f"{describe(old_url)} has no threads to copy: is it the right one?")
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
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
    return outcomes


def _check_file(url: str) -> None:
    """Raise WrongRequest for a file that would be made, or made one of ours, by looking for threads in it."""
    path = sqlite_path(url)
    if not path.is_file():
        raise WrongRequest(f"there is no {describe(url)} to copy from")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise WrongRequest(f"{describe(url)} cannot be read: {error}") from None
    if not tables & {"checkpoints", "agent_runs"}:
        raise WrongRequest(f"{describe(url)} has no threads to copy: is it the right one?")


async def _is_the_same(source: Runs, target: Runs) -> bool:
    """Tell whether two URLs, whatever their texts, lead to one database: what is written to one is in the other."""
    thread = ThreadId(f"{COPY}-{uuid4()}")
    reservation = await reserve(target.ledger, thread, COPY)
    if reservation is None:
        return False
    try:
        return bool(await source.ledger.line(thread))
    finally:
        await drop_reservation(target.ledger, reservation)


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
    reservation = await _reserved(target, thread)
    if reservation is None:  # another copy of it has begun, or a run, which the next look finds
        return None
    async with target.keeper.keeping(reservation):
        try:
            with fenced(Fence(reservation.run_id, reservation.attempt)):
                await _copy_checkpoints(source, target, thread)
            wrong = await difference(source.checkpointer, target.checkpointer, thread)
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


async def _reserved(target: Runs, thread: ThreadId) -> Run | None:
    """Reserve the thread; who is cancelled meanwhile leaves no reservation, though the call may go on by itself."""
    reserving = asyncio.create_task(reserve(target.ledger, thread, COPY))
    try:
        return await asyncio.shield(reserving)
    except asyncio.CancelledError:
        if made := await reserving:
            await drop_reservation(target.ledger, made)
        raise


async def _take_back(target: Runs, thread: ThreadId, reservation: Run) -> None:
    """Delete what was copied under a reservation. Raises LeaseLost if another process has seen to it."""
    with fenced(Fence(reservation.run_id, reservation.attempt)):
        await target.checkpointer.adelete_thread(thread)
    await drop_reservation(target.ledger, reservation)


async def _in_the_way(source: Runs, target: Runs, thread: ThreadId, entries: Entries) -> Copied | None:
    """Return what the target's thread of this id means; None if there is none, or only a copy that was not finished."""
    for run in await target.ledger.line(thread):
        if run.has_input and purpose_of(await target.ledger.payload(run)) == COPY:
            if not is_abandoned(run):
                return Copied(thread, "at work", "another process copies it")
            await _take_back(target, thread, run)
    there = await take_entries(target.ledger, thread)
    if there.runs and all(map(is_copy, _ids(there.runs))):
        if not await _forget_copies(target, thread):
            return Copied(thread, "at work", "another process copies it")
        there = await take_entries(target.ledger, thread)
    audit = [line for line in there.audit if not is_copy(line["run_id"] or "")]
    if not there.runs and not audit and await _head(target, thread) is None:
        return None
    audited = entries.audit == audit[: len(entries.audit)]  # it may have gone on, but not otherwise
    if (
        audited
        and _ids(entries.runs) == _ids(there.runs)
        and not await difference(source.checkpointer, target.checkpointer, thread)
    ):
        return Copied(thread, "there")
    return Copied(thread, "differs", "the target has a thread of this id, which is left as it is")


async def _forget_copies(target: Runs, thread: ThreadId) -> bool:
    """Delete what is left of copies that somebody has ended: resumed, cancelled, or given up. False: one has begun."""
    if reservation := await _reserved(target, thread):
        await _take_back(target, thread, reservation)
        await target.ledger.forget(thread)
    return reservation is not None


async def _copy_checkpoints(source: Runs, target: Runs, thread: ThreadId) -> None:
    async for found in source.checkpointer.alist(all_of(thread)):
        await copy_checkpoint(target.checkpointer, found, thread, with_writes=True)


async def _head(runs: Runs, thread: ThreadId) -> tuple[str, int] | None:
    """Return the newest checkpoint and how many writes are pending on it; None for a thread without checkpoints."""
    found = await runs.checkpointer.aget_tuple(all_of(thread))
    return (found.checkpoint["id"], len(found.pending_writes or [])) if found else None


def _executed(line: list[Run]) -> Run | None:
    return next((run for run in line if run.status == "running" and not is_abandoned(run)), None)


def _ids(runs: list[dict[str, Any]]) -> list[str]:  # Any: columns
    return [run["run_id"] for run in runs]
