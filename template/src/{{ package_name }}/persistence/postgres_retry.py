"""Waiting out an outage: every statement of the saver may be repeated, so a lost connection need not end a run.

How long a call lasts. Its first attempt has `patience` seconds, from waiting for a connection to the server's answer.
Once that is lost, further attempts follow for as long again, each cut off when that time is over. So an outage as long
as the patience is waited out, one that is longer ends the call, and no call lasts longer than twice the patience.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from tenacity import AsyncRetrying, retry_if_exception, stop_before_delay, wait_random_exponential

from ..settings import Settings
from .errors import DatabaseUnreachable
from .postgres_connect import connection_parameters
from .postgres_figures import Figures
from .postgres_schema import is_pooled
from .urls import describe

logger = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_PAUSE = 1.0  # seconds between two attempts; the pauses grow to it and are drawn at random, so processes spread
PAUSE_SHARE = 0.1  # of the patience, at most: the last attempt comes when it is nearly over

# The pool's own attempts to connect pause twice as long each time, which would double an outage; so it gives up early,
# and is asked again by each attempt of a call.
RECONNECT_TIMEOUT = 0.5  # seconds
AWAY_TIMEOUT = 1.0  # seconds that an attempt waits for a connection while the database is away

WHO_ANSWERS = "SELECT pg_backend_pid() AS pid"
PREPARE_AFTER = 5  # times that a connection has sent a statement; psycopg's own default

# What passes: the connection is lost, the server starts, stops or is short of something, two transactions collided.
_PASSING_CLASSES = frozenset({"08", "40", "53", "57"})  # https://www.postgresql.org/docs/current/errcodes-appendix.html
_READ_ONLY = "25006"  # as a standby is until it is promoted, and a primary that its provider has run out of disk
_PASSING_CODES = frozenset({_READ_ONLY, "55P03"})  # the other: a lock is not available

_deadline: ContextVar[float] = ContextVar("deadline")  # of the attempt that this task makes, in monotonic seconds


class _Silence(psycopg.OperationalError):
    """The server did not answer, and the connection was given up."""


def passes(error: BaseException) -> bool:
    """Return whether the same statement may succeed later. A refused row does not."""
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return error.sqlstate[:2] in _PASSING_CLASSES or error.sqlstate in _PASSING_CODES
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def _spoils(error: Exception) -> bool:
    """Return whether the other connections are likely to fail as this one did.

    One that is lost seldom is alone. One that is read-only stays so when the database takes writes again.
    """
    if isinstance(error, PoolTimeout):
        return False
    state = getattr(error, "sqlstate", None)
    return state is None or state == _READ_ONLY or state[:2] == "08" or state[:3] == "57P"


class _Connection(AsyncConnection[DictRow]):
    """Reports why it cannot be made: the pool tells its callers no more than that they waited too long."""

    @classmethod
    async def connect(  # type: ignore[override] # the pool calls it, with the keyword arguments that it was given
        cls, conninfo: str = "", *, report: Callable[[str], None], **parameters: Any
    ) -> "_Connection":
        try:
            connection = await super().connect(conninfo, **parameters)
        except (psycopg.Error, OSError, UnicodeError) as error:
            report(_text(error))
            raise
        report("")
        return connection


async def _prepare_if_direct(connection: AsyncConnection[DictRow]) -> None:
    """Let a connection prepare its statements if it leads straight to the server: a lone run gains a third."""
    row = await (await connection.execute(WHO_ANSWERS)).fetchone()
    if row and not is_pooled(connection, row):
        connection.prepare_threshold = PREPARE_AFTER


class PatientPool:
    """A pool of connections whose user waits out an outage of `patience` seconds, and not longer than twice that."""

    def __init__(self, url: str, settings: Settings) -> None:
        """Prepare the pool, which opens as a context manager, `async with patient.pool`."""
        self.patience = settings.database_patience
        self.figures = Figures()
        self.pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
            connection_class=_Connection,
            kwargs={**connection_parameters(url, settings), "report": self._report},
            min_size=settings.database_pool_min,
            max_size=settings.database_pool_max,
            timeout=settings.database_timeout,
            reconnect_timeout=RECONNECT_TIMEOUT,
            configure=_prepare_if_direct,
            open=False,  # by the context manager, inside the event loop
        )
        self._where = describe(url)
        self._refusal = ""  # why the last connection could not be made
        self._away: float | None = None  # since when the database does not answer
        self._lost = ""  # how the first connection of the outage was lost
        self._drained = 0.0

    async def repeat(self, act: Callable[[], Awaitable[T]]) -> T:
        """Return what `act` returns, which must be safe to repeat.

        Raises DatabaseUnreachable when it still fails after the patience is over, and at once what does not pass.
        """
        try:
            return await self._attempt(act, monotonic() + self.patience)
        except Exception as error:
            if not passes(error):
                raise
            known: Exception = error
        began = monotonic()
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(passes),
                wait=wait_random_exponential(multiplier=0.05, max=min(LONGEST_PAUSE, PAUSE_SHARE * self.patience)),
                stop=stop_before_delay(self.patience),
                reraise=True,
            ):
                with attempt:
                    self.figures.retried()
                    try:
                        return await self._attempt(act, began + self.patience)
                    except psycopg.Error as error:
                        known = known if isinstance(error, PoolTimeout | _Silence) else error
                        raise
        except Exception as error:
            if passes(error):
                reason = f"{self._cause(known, error)}, for {monotonic() - began:.1f} s"
                raise DatabaseUnreachable(self._where, reason) from error
            raise
        raise AssertionError("tenacity ended without a result or an error")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[DictRow]]:
        """Yield a connection for the attempt that `repeat` makes. It is given up when the attempt's time is over."""
        deadline = _deadline.get(monotonic() + self.patience)
        wait = self.pool.timeout if self._away is None else AWAY_TIMEOUT
        async with self.pool.connection(timeout=min(wait, deadline - monotonic())) as connection:
            silent = asyncio.Event()
            alarm = asyncio.get_running_loop().call_later(deadline - monotonic(), _hang_up, connection, silent)
            try:
                yield connection
            except psycopg.Error as error:
                if silent.is_set():
                    raise _Silence(f"no answer within {self.patience:g} s") from error
                raise
            finally:
                alarm.cancel()

    async def _attempt(self, act: Callable[[], Awaitable[T]], deadline: float) -> T:
        token = _deadline.set(min(deadline, _deadline.get(deadline)))  # one attempt may be part of another
        began = monotonic()
        try:
            result = await act()
        except Exception as error:
            if passes(error):
                await self._note(error, began)
            raise
        finally:
            _deadline.reset(token)
        if self._away is not None:
            logger.warning("%s answers again, after %.1f s", self._where, monotonic() - self._away)
            self._away, self._lost = None, ""
        return result

    async def _note(self, error: Exception, began: float) -> None:
        """Close the idle connections if they are as bad as the attempt's: a retry would meet one after the other."""
        spoils = _spoils(error)
        if self._away is None and (spoils or isinstance(error, PoolTimeout)):
            self._away = began
            logger.warning("%s does not answer, trying again: %s", self._where, self._cause(error, error))
        if spoils:
            self._lost = self._lost or _text(error)
        if spoils and began > self._drained:
            self._drained = monotonic()
            await self.pool.drain()

    def _report(self, refusal: str) -> None:
        self._refusal = refusal

    def _cause(self, known: Exception, last: Exception) -> str:
        """Return what is wrong, rather than that somebody waited for it; `known` is the last error that told more."""
        if not isinstance(last, PoolTimeout | _Silence):
            return _text(last)
        if self._refusal:
            return self._refusal
        if not isinstance(known, PoolTimeout):
            return _text(known)
        return self._lost or f"all {self.pool.max_size} connections of the pool are in use (DATABASE_POOL_MAX)"


def _hang_up(connection: AsyncConnection[DictRow], silent: asyncio.Event) -> None:
    """End a connection as the network would.

    Not by a cancellation: psycopg would wait ten seconds more for the last word of a server that is silent. Nor by
    closing the socket: another connection may get its number while the event loop still watches it for this one.
    """
    silent.set()
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.pgconn.socket)) as line:
        line.shutdown(socket.SHUT_RDWR)


def _text(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
