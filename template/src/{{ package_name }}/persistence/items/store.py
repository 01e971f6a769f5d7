"""The ledger over a store of items: a thread is read, its statements are executed in memory, and the change is stored.

A thread has a stamp, which each change replaces, and a change expects the stamp with which it was read. So of two that
meet one is begun again, and sees what the other one did. A change is one step of the store, and a checkpoint expects
the lease in its own (see `saver`): nobody writes for a run that has gone to somebody else.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from langgraph.checkpoint.serde.base import SerializerProtocol

from ..ledger import copying
from ..ledger import statements as sql
from ..ledger.store import Parameters, Row, Transaction
from ..ledger.unsealed import Unsealed
from . import keys
from .book import AUDIT, Book, Books
from .items import Change, Items
from .pages import Page, audit_of, load, noted, place_of

T = TypeVar("T")

LONGEST_PAUSE = 0.05  # seconds before a change that met another one is made again
AT_ONCE = 200  # threads that a question about all of them reads at once

_INDEX = {
    sql.LOST: "busy",
    sql.STRANDED: "busy",
    sql.OPEN_QUESTIONS: "asking",
    sql.OVERDUE: "asking",
    sql.COUNTS: "known",
}
"""Questions about all threads, and the index of those that can be in the answer."""
_WHOLE = {sql.FORGET_RUNS, sql.FORGET_QUESTIONS, copying.RUNS, copying.QUESTIONS}
"""Statements that are about all runs of a thread, those that were over long ago included."""
_AUDITS = {sql.AUDIT, copying.AUDIT}


class ItemStore(Unsealed):
    """See `ledger.store`."""

    def __init__(self, items: Items, serde: SerializerProtocol, books: Books) -> None:
        super().__init__(serde)
        self._items = items
        self._books = books

    async def rows(self, statement: str, parameters: Parameters) -> list[Row]:
        """Execute one statement. Raises Conflict."""
        if statement in _INDEX:
            (entries,) = await self._items.read(keys.entries(_INDEX[statement]))
            return await self._of_many(statement, parameters, [keys.parts(key)[1] for key, _ in entries])
        if statement == copying.THREADS:
            after, limit = parameters["after"], parameters["limit"]
            found = await self._items.read(*(keys.entries(kind, after, limit) for kind in ("known", "audited")))
            threads = {keys.parts(key)[1] for entries in found for key, _ in entries} - {""}
            return [{"thread_id": thread} for thread in sorted(threads)[:limit]]
        if "pattern" in parameters:
            (known,) = await self._items.read(keys.entries("known"))
            return await self._of_many(statement, parameters, [keys.parts(key)[1] for key, _ in known])
        if "runs" in parameters:
            return await self._of_runs(statement, parameters)
        return await self.transaction(lambda transaction: transaction.rows(statement, parameters))

    async def transaction(self, act: Callable[[Transaction], Awaitable[T]]) -> T:
        """Execute several statements as one transaction; `act` may be repeated."""
        while True:
            with self._books.one() as book:
                transaction = _Transaction(self._items, book)
                done = await act(transaction)
                change = transaction.change()
            if change is None or await self._items.change(change) is None:
                return done
            await asyncio.sleep(random.uniform(0, LONGEST_PAUSE))  # noqa: S311 - spreads the processes

    async def _of_runs(self, statement: str, parameters: Parameters) -> list[Row]:
        """Execute a statement about several runs for each thread of them, if it changes any."""
        runs: list[str] = parameters["runs"]
        places = await self._items.get([keys.place(run) for run in runs])
        threads = sorted({keys.parts(place.decode())[0] for place in places if place})
        if statement.lstrip().startswith("SELECT"):
            return await self._of_many(statement, parameters, threads)

        async def of_one(thread: str) -> list[Row]:
            return await self.transaction(lambda own: own.rows(statement, {**parameters, "thread": thread}))

        return [row for rows in await asyncio.gather(*map(of_one, threads)) for row in rows]

    async def _of_many(self, statement: str, parameters: Parameters, threads: list[str]) -> list[Row]:
        whole = statement == sql.COUNTS
        with self._books.one(many=True) as book:
            for start in range(0, len(threads), AT_ONCE):
                for page in await load(self._items, threads[start : start + AT_ONCE], whole=whole):
                    page.fill(book)
            return book.rows(statement, parameters)

    @property
    def ticks(self) -> int:
        """Grows with every change of the ledger that this process hears of."""
        return self._items.ticks

    async def changes(self, since: int, pause: float) -> None:
        """Return when something has changed since `ticks` was `since`, or after `pause` seconds."""
        await self._items.changes(since, pause)


class _Transaction:
    """One thread, from the first statement that names it or one of its runs."""

    def __init__(self, items: Items, book: Book) -> None:
        self._items = items
        self._book = book
        self._page: Page | None = None
        self._audited = False

    @property
    def connection(self) -> None:
        """Nothing else can be committed with it."""

    async def rows(self, statement: str, parameters: Parameters) -> list[Row]:
        if statement != sql.NOTE:  # it only adds
            await self._load(statement, parameters)
        return self._book.rows(statement, parameters)

    async def lock_thread(self, thread: str) -> None:
        """Do nothing: who meets another one begins again."""

    async def announce(self) -> None:
        """Do nothing: every change is announced."""

    def change(self) -> Change | None:
        """Return what the statements have changed; None for nothing."""
        change = self._page.change(self._book) if self._page else None
        lines = noted([] if self._audited else self._book.all(AUDIT), self._items.now())
        if not lines:
            return change
        return replace(change, puts={**change.puts, **lines}) if change else Change(puts=lines, announce=True)

    async def _load(self, statement: str, parameters: Parameters) -> None:
        run = parameters.get("run") or parameters.get("run_id") or ""
        thread = parameters.get("thread") or parameters.get("thread_id") or ""
        if statement in _AUDITS:
            self._audited = True
            self._book.put(AUDIT, await audit_of(self._items, thread, parameters.get("limit")))
            return
        if not thread and run:
            place = await place_of(self._items, run)
            thread = place[0] if place else ""
        if not thread:
            return
        whole = statement in _WHOLE
        if self._page is None:
            (self._page,) = await load(self._items, [thread], whole=whole, limit=parameters.get("limit", 0))
            self._page.fill(self._book)
        if thread != self._page.thread:
            raise AssertionError(f"a transaction about thread {self._page.thread} came to thread {thread}")
        await self._page.extend(self._items, self._book, run=run, whole=whole)
