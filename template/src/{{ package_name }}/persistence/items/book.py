"""A thread's part of the ledger, as a database in memory, in which the ledger's statements are executed.

The rules of the ledger are SQL (see `ledger.statements`), and there is one copy of them. So what a store of items has
of a thread is put into tables, the statements do their work, and what they have changed is taken out again.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

from ..ledger.dialect import SQLITE, Dialect
from ..ledger.store import Conflict, Parameters, Row
from ..ledger.tables import VERSIONS

_NOW = "strftime('%%Y-%%m-%%dT%%H:%%M:%%f+00:00', store_now()"
ONE_THREAD = replace(
    SQLITE,
    now=f"{_NOW})",
    ago=f"{_NOW}, -%(seconds)s || ' seconds')",
    soon=f"{_NOW}, %(seconds)s || ' seconds')",
    silent="coalesce((julianday(store_now()) - julianday(beat_at)) * 86400.0, 0.0)",
    position="integer PRIMARY KEY",
)
"""The time is the store's. Positions are counted in each thread."""
MANY_THREADS = replace(ONE_THREAD, position="integer")

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
HEADS = "CREATE TABLE checkpoints (thread_id text, checkpoint_ns text, checkpoint_id text)"
RUNS, QUESTIONS, AUDIT = "agent_runs", "agent_questions", "agent_audit"

KEPT = 64  # of each kind, empty
LARGEST = 100  # pages of 4 kB: one that has grown beyond is not kept, because it gives nothing back

_DUPLICATES = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}


class Book:
    """The tables, of one thread or, to be read only, of many."""

    def __init__(self, now: Callable[[], float], *, many: bool = False) -> None:
        """Make empty tables; `now` is the store's clock."""
        self._dialect = MANY_THREADS if many else ONE_THREAD
        self._put = 0  # rows
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.create_function("store_now", 0, lambda: datetime.fromtimestamp(now(), UTC).isoformat())
        self._database.execute(HEADS)
        for steps in VERSIONS.values():
            for _, statement in steps:
                self._database.execute(_spelled(self._dialect, statement))
        self._tables = [row["name"] for row in self._database.execute(_TABLES)]

    @property
    def changed(self) -> bool:
        """Whether a statement has changed anything."""
        return self._database.total_changes != self._put  # which begins again at 2**31

    @property
    def pages(self) -> int:
        """How many it has, of 4 kB."""
        return int(self._database.execute("PRAGMA page_count").fetchone()[0])

    def clear(self) -> None:
        """Forget all rows."""
        for table in self._tables:
            self._database.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
        self._put = self._database.total_changes

    def close(self) -> None:
        """Forget the tables."""
        self._database.close()

    def rows(self, statement: str, parameters: Parameters) -> list[Row]:
        """Execute a statement of the ledger and return its rows. Raises Conflict."""
        values = {name: json.dumps(value) if isinstance(value, list) else value for name, value in parameters.items()}
        try:
            found = self._database.execute(_spelled(self._dialect, statement), values).fetchall()
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode not in _DUPLICATES:
                raise
            raise Conflict from None
        return [dict(row) for row in found]

    def put(self, table: str, rows: Iterable[Row]) -> None:
        """Add rows as they are."""
        for row in rows:
            names, marks = ", ".join(row), ", ".join("?" * len(row))
            self._database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", [*row.values()])  # noqa: S608
            self._put += 1

    def all(self, table: str) -> list[Row]:
        """Return the rows of a table, in the order in which they were made."""
        return [dict(row) for row in self._database.execute(f"SELECT * FROM {table} ORDER BY rowid")]  # noqa: S608


class Books:
    """Tables that are used again, by one thread: making them and parsing the statements takes longer than executing."""

    def __init__(self, now: Callable[[], float]) -> None:
        """Make none yet; `now` is the store's clock."""
        self._now = now
        self._free: dict[bool, list[Book]] = {True: [], False: []}
        self._closed = False

    @contextmanager
    def one(self, *, many: bool = False) -> Iterator[Book]:
        """Yield empty tables, of one thread or of many."""
        free = self._free[many]
        book = free.pop() if free else Book(self._now, many=many)
        try:
            yield book
        finally:
            book.clear()
            if len(free) < KEPT and book.pages <= LARGEST and not self._closed:
                free.append(book)
            else:
                book.close()

    def close(self) -> None:
        """Forget those that nobody uses, and the others when they are free."""
        self._closed = True
        for free in self._free.values():
            while free:
                free.pop().close()


@cache
def _spelled(dialect: Dialect, statement: str) -> str:
    return re.sub(r"%\((\w+)\)s", r":\1", dialect.spell(statement)).replace("%%", "%")
