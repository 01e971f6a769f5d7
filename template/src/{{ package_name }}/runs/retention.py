"""Forgetting on schedule: which threads are deleted, shortened or expired, and which are only reported.

    finished (done or failed), older than the audit window    archived if wanted, then deleted
    waiting for an answer, for longer than its limit          expired: a last checkpoint ends it and says why; from then
                                                              on it is a finished thread
    waiting for an answer, else                               reported
    unfinished, older than the audit window                   reported: it was accepted, so it is never given up here
    any that stays, with a long history                       its oldest checkpoints are deleted

The age of a thread is that of its newest checkpoint. Only threads that are old or ask something have their state read.
Nothing happens silently: every action is a line of the log and goes to the listener.

A purge may be killed at any instant and simply runs again. It works on one thread at a time and then rests for as long
as that took: live runs have the database to themselves for half of the time. Two purges at once do the same work twice,
and no harm.
"""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from uuid import uuid4

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END
from langgraph.graph.state import CompiledStateGraph

from ..persistence import HistoryNeeded, Retention, Rows, StoredThread, oldest_id
from ..settings import Settings, redact
from .config import graph_version, run_config
from .keeper import Keeper
from .reservation import reserved
from .status import EXPIRED, ThreadStatus, read_status
from .threads import ThreadId

logger = logging.getLogger(__name__)

PAGE = 50  # threads looked at with one query
LONGEST_RECORD = 500  # characters of the unanswered question that the record of an expiry repeats
CLEARINGS = 10  # checkpoints at most to end a thread: clearing its tasks can release others, which wait behind them

T = TypeVar("T")
Kind = Literal[
    "deleted", "trimmed", "expired", "waiting", "unfinished", "in use", "came back", "untrimmable", "unreadable"
]
WRONG: frozenset[Kind] = frozenset({"came back", "unreadable"})
"""What a person should look at."""


@dataclass(frozen=True)
class Policy:
    """How long what is kept; None is for ever."""

    audit_window: timedelta | None = None  # finished threads
    paused_ttl: timedelta | None = None  # threads that wait for an answer
    history_keep: int | None = None  # checkpoints of a thread that stays

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the policy of the settings."""

        def days(number: float | None) -> timedelta | None:
            return None if number is None else timedelta(days=number)

        return cls(days(settings.audit_window_days), days(settings.paused_ttl_days), settings.history_keep)

    def __str__(self) -> str:
        """Say what the policy means, with the setting that changes each part."""
        window = f"deleted after {_days(self.audit_window)}" if self.audit_window else "kept for ever"
        paused = f"expire after {_days(self.paused_ttl)}" if self.paused_ttl else "wait for ever"
        history = f"the newest {self.history_keep}" if self.history_keep else "all"
        return (
            f"finished threads are {window} (AUDIT_WINDOW_DAYS), unanswered ones {paused} (PAUSED_TTL_DAYS), "
            f"{history} checkpoints of the others are kept (HISTORY_KEEP)"
        )


@dataclass(frozen=True)
class Action:
    """What was done to a thread, or would be in a dry run, or why nothing was. `rows` are those that went."""

    kind: Kind
    thread_id: str
    since: str = ""  # ISO time of its newest checkpoint
    rows: int = 0
    text: str = ""


@dataclass(frozen=True)
class Looked:
    """So many threads have been looked at, of about so many, if that is known."""

    threads: int
    about: int | None


@dataclass
class Purged:
    """The sum of a purge."""

    threads: int = 0
    rows: int = 0
    actions: Counter[Kind] = field(default_factory=Counter)

    def __str__(self) -> str:
        """Return the sum in words."""
        actions = "".join(f", {number} {kind}" for kind, number in sorted(self.actions.items()))
        return f"{self.threads} threads looked at{actions}; {self.rows} rows went"

    @property
    def wrong(self) -> bool:
        """Tell whether a person should look at something."""
        return any(self.actions[kind] for kind in WRONG)


PurgeListener = Callable[[Action | Looked], None]


class Forgetting:
    """One purge: a policy applied to the threads of a graph."""

    def __init__(
        self,
        graph: CompiledStateGraph[Any, Any, Any, Any],  # Any: whatever state and context it has
        checkpointer: BaseCheckpointSaver[Any],  # Any: the type of its versions
        retention: Retention,
        keeper: Keeper,
        policy: Policy,
        *,
        dry_run: bool = False,
        archive: Path | None = None,
    ) -> None:
        """Prepare a purge; a dry run reads only."""
        self._graph = graph
        self._checkpointer = checkpointer
        self._retention = retention
        self._ledger = keeper.ledger
        self._keeper = keeper
        self._policy = policy
        self._dry_run = dry_run
        self._archive = archive

    async def purge(self, now: datetime, listener: PurgeListener) -> Purged:
        """Look at every thread, in the order of their ids."""
        done = Purged()
        about = await self._retention.estimate()

        def tell(action: Action) -> None:
            done.actions[action.kind] += 1
            done.rows += action.rows
            said = "%s%s thread %s of %s: %d rows. %s"
            prefix = "dry run: " if self._dry_run else ""
            level = logging.WARNING if action.kind in WRONG else logging.INFO
            logger.log(
                level, said, prefix, action.kind, action.thread_id, action.since or "?", action.rows, action.text
            )
            listener(action)

        after = ""
        while page := await _paced(self._retention.page(after, PAGE, self._policy.history_keep)):
            deleted: list[str] = []
            for stored in page:
                for action in await self._one(stored, now):
                    tell(action)
                    if action.kind == "deleted":
                        deleted.append(stored.thread_id)
            if deleted and not self._dry_run:
                for thread in await self._retention.present(deleted):
                    tell(Action("came back", thread, text="a run that had begun before the deletion wrote to it"))
            after = page[-1].thread_id
            done.threads += len(page)
            listener(Looked(done.threads, about))
        return done

    async def _one(self, stored: StoredThread, now: datetime) -> list[Action]:
        """Do what the policy says to one thread."""
        if not stored.head:
            return await self._leftover(stored, now)
        actions: list[Action] = []
        if stored.asks or any(self._old(stored.newest, now, limit) for limit in self._limits()):
            try:
                status = await _paced(read_status(self._graph, self._checkpointer, ThreadId(stored.thread_id)))
            except Exception as error:  # one thread that cannot be read must not keep all others
                logger.exception("thread %s cannot be read", stored.thread_id)
                await self._retention.present([])  # raises when the cause is the database
                return [Action("unreadable", stored.thread_id, text=redact(f"{type(error).__name__}: {error}"))]
            if status is not None:
                actions = await self._judged(stored, status, now)
        if stored.long and not any(action.kind == "deleted" for action in actions):
            actions += await _paced(self._trimmed(stored))
        return actions

    def _limits(self) -> list[timedelta]:
        return [limit for limit in (self._policy.audit_window, self._policy.paused_ttl) if limit is not None]

    @staticmethod
    def _old(checkpoint: str, now: datetime, limit: timedelta | None) -> bool:
        return limit is not None and checkpoint < oldest_id(now - limit)

    async def _judged(self, stored: StoredThread, status: ThreadStatus, now: datetime) -> list[Action]:
        age = now - datetime.fromisoformat(status.updated)
        policy = self._policy
        beyond = policy.audit_window is not None and age > policy.audit_window
        thread, since = stored.thread_id, status.updated
        match status.condition:
            case "waiting" if policy.paused_ttl is not None and age > policy.paused_ttl:
                return [await _paced(self._expired(stored, status, now))]
            case "waiting":
                return [Action("waiting", thread, since, text="for an answer")]
            case "unfinished" if beyond:
                return [Action("unfinished", thread, since, text=f"at {', '.join(status.next) or 'the end of a step'}")]
            case "done" | "failed" if beyond:
                return [await _paced(self._deleted(stored, since))]
            case _:
                return []

    async def _leftover(self, stored: StoredThread, now: datetime) -> list[Action]:
        """Delete rows without a head, once no run can be about to store one for them."""
        if not self._old(stored.newest, now, self._policy.audit_window):
            return []
        return [await _paced(self._deleted(stored, ""))]

    async def _deleted(self, stored: StoredThread, since: str) -> Action:
        thread, file, archived = stored.thread_id, None, None
        if self._dry_run:
            return Action("deleted", thread, since, (await self._retention.count(thread)).total)
        async with reserved(self._keeper, ThreadId(thread), "purge") as entry:
            if entry is None:
                return Action("in use", thread, since, text="a run of it is not over")
            if self._archive is not None:
                file, archived = await self._retention.archive(thread, stored.head, self._archive)
            gone = await self._retention.delete(thread, stored.head, archived)
            if gone is not None:
                await self._ledger.note(
                    "deleted", entry, f"purged: {self._policy}{f'; kept as {file}' if file else ''}"
                )
        await self._ledger.forget(thread)
        if gone is None:  # the file stays: perhaps another purge has written the same one, and deleted the thread
            return Action("in use", thread, since, text="it changed while it was to be deleted")
        return Action("deleted", thread, since, gone.total, f"archived as {file}" if file else "")

    async def _trimmed(self, stored: StoredThread) -> list[Action]:
        try:
            gone = await self._retention.trim(stored.thread_id, self._policy.history_keep or 1, dry_run=self._dry_run)
        except HistoryNeeded as error:
            return [Action("untrimmable", stored.thread_id, text=str(error))]
        if gone is None:
            return [Action("in use", stored.thread_id, text="it changed while it was to be shortened")]
        if gone == Rows():
            return []  # it is as long as the state of its oldest kept checkpoint needs
        return [Action("trimmed", stored.thread_id, rows=gone.total, text=f"{gone.checkpoints} checkpoints")]

    async def _expired(self, stored: StoredThread, status: ThreadStatus, now: datetime) -> Action:
        """End the thread by a checkpoint that has no tasks and, in its metadata, the record.

        It hangs on the checkpoint that was judged. Should somebody answer in this very moment, then the checkpoints of
        that run are newer, and the record is a side branch.
        """
        action = Action("expired", status.thread_id, status.updated, text="nobody answered it")
        if self._dry_run:
            return action
        asked = json.dumps([interrupt.value for interrupt in status.interrupts], ensure_ascii=False, default=str)
        shown = asked.encode("utf-8", "replace").decode()[:LONGEST_RECORD]
        for run in await self._ledger.line(status.thread_id):
            await self._ledger.expire(run.run_id, "nobody answered it (PAUSED_TTL_DAYS)")
        name = str(uuid4())
        config = run_config(status.thread_id, name, recursion_limit=1, graph_version=graph_version(self._graph))
        config["metadata"][EXPIRED] = f"expired on {now.isoformat()}, unanswered since {status.updated}: {shown}"
        config["configurable"] |= {"checkpoint_ns": "", "checkpoint_id": stored.head}
        for _ in range(CLEARINGS):
            config["configurable"] = (await self._graph.aupdate_state(config, None, as_node=END))["configurable"]
            if not (await self._graph.aget_state(config)).next:
                break
        return action


async def _paced(work: Awaitable[T]) -> T:
    """Do the work, then rest for as long as it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    result = await work
    await asyncio.sleep(loop.time() - began)
    return result


def _days(time: timedelta) -> str:
    return f"{time / timedelta(days=1):g} days"
