"""What a database server knows that its tables do not say: for `doctor`. Not every backend has one.

It works on a database without tables, too, and each question is one query: an inspection waits for nobody's lock.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, cast

from ..settings import Settings
from .urls import backend_of, module_of, normalise


@dataclass(frozen=True)
class Place:
    """Which database this is."""

    name: str  # in words
    identity: str  # the same for two processes only if they use the same tables
    clock_ahead: float  # seconds that its clock is ahead of this machine's


@dataclass(frozen=True)
class Session:
    """Somebody's connection to the database; a prepared transaction has none, and the pid 0."""

    pid: int
    name: str  # the program's
    client: str  # address; empty on a local socket, and where it is not to be seen
    state: str
    seconds: int | None  # that its transaction, or else its state, has lasted; None: not to be seen

    def __str__(self) -> str:
        """Return the session in words."""
        if not self.pid:
            return "a prepared transaction (SELECT * FROM pg_prepared_xacts)"
        where = f" from {self.client}" if self.client else ""
        lasts = "" if self.seconds is None else f" for {self.seconds} s"
        return f"process {self.pid} ({self.name}{where}, {self.state}{lasts})"


@dataclass(frozen=True)
class Wait:
    """A session that waits for a lock, and those that it waits for."""

    waiting: Session
    statement: str  # its beginning
    seconds: float
    blockers: tuple[Session, ...]


@dataclass(frozen=True)
class Transaction:
    """A transaction that has been open for long."""

    session: Session
    snapshot: bool  # it holds a snapshot: CREATE INDEX CONCURRENTLY waits for its end
    tables: tuple[str, ...]  # of ours, that it has locked


@dataclass(frozen=True)
class Job:
    """What the queue has for a run: it is to be looked at in `due` seconds, or is being looked at."""

    status: str
    due: float  # seconds until its time comes; 0 or less: it has come


@dataclass(frozen=True)
class Queue:
    """The queue: workers by their signs of life, and the jobs that wait."""

    alive: int
    silent: int  # that have given no sign of life for SILENT seconds
    last: float | None  # seconds since the last sign of life of any of them
    waiting: int  # jobs whose time has come


@dataclass(frozen=True)
class Room:
    """Connections to the server."""

    used: int
    most: int  # that roles without special rights may have together
    clients: Sequence[tuple[str, str, int]]  # program, address and number, of this database


@dataclass(frozen=True)
class SetUp:
    """What a migration depends on."""

    migrating: tuple[Session, ...]  # who holds the migration's lock
    transactions: tuple[Transaction, ...]
    invalid_indexes: tuple[str, ...]
    timeouts: dict[str, str]  # by their names; "0" is none
    sees_all: bool  # whether the role may see what other roles' sessions do


class Inspection(Protocol):
    """The questions. All raise DatabaseUnreachable."""

    async def place(self) -> Place:
        """Return which database this is, and what time it is there."""

    async def room(self) -> Room:
        """Return how many connections there are, and whose."""

    async def waits(self, seconds: float) -> list[Wait]:
        """Return who has waited for a lock for so long, and for whom."""

    async def blockers(self, thread: str, seconds: float) -> list[Session] | None:
        """Return who keeps a run of the thread from being stored for longer than `seconds`; None: nobody does."""

    async def queue(self) -> Queue | None:
        """Return the queue; None without its tables."""

    async def job(self, run: str) -> Job | None:
        """Return what the queue has for a run."""

    async def elsewhere(self, thread: str) -> list[str]:
        """Return, in words, the other schemas and databases of the server in which the thread is."""

    async def set_up(self, seconds: float) -> SetUp:
        """Return what a migration depends on; transactions that are older than so many seconds."""


class _Opener(Protocol):
    def open_inspection(self, url: str, settings: Settings) -> AbstractAsyncContextManager[Inspection]: ...


@asynccontextmanager
async def open_inspection(settings: Settings) -> AsyncIterator[Inspection | None]:
    """Yield an inspection, over a connection of its own straight to the server; None where there is none.

    Raises BadDatabaseUrl and DatabaseUnreachable.
    """
    url = normalise(settings.migration_url)
    name = backend_of(url).INSPECTION
    if not name:
        yield None
        return
    opener = cast("_Opener", module_of(name))
    async with opener.open_inspection(url, settings) as inspection:
        yield inspection
