"""Gathering: the statement with which a run begins, is claimed or ends is sent once for many runs.

Each costs a round trip, a connection of the pool and a commit, whatever it holds. So a caller leaves what it gives to
the statement and waits; a sender takes all that was left and sends it as one statement, which is one transaction.
Nobody waits for a timer: while one is under way, who comes waits for the next; alone it leaves at once.

What keeps callers apart: a statement has a run once, whose row comes back with its id. One that the server refuses is
halved until the refused row is alone, so that its caller fails and no other. A caller that is cancelled takes its row
along, unless that is under way: then the database has done it, or not, and the name of the holder tells.

Statements lock rows of agent_runs in the order of run_id, as the fence and the signs of life do, and insert in that of
thread_id, so two of them cannot block each other. Only that a claim waits for a run that is begun on its thread, and
that run's statement for another claim of the same, no order excludes: then PostgreSQL ends one of the two with an error
that passes, and the pool repeats it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from functools import partial

from ..errors import CheckpointerClosed, DatabaseUnreachable
from ..postgres_json import encode
from ..postgres_retry import PatientPool
from .store import Parameters, Row

IN_FLIGHT = 1  # of each statement: with more, each carries less, and the CPU costs more than the waiting
BATCH_CALLS = 100
BATCH_SIZE = 1 << 20  # characters, from which on no call is added


@dataclass(slots=True, eq=False)
class _Call:
    """One caller: its run, what it gives to the statement, as JSON, and what it waits for."""

    run: str
    given: str
    answer: asyncio.Future[list[Row]]


class Gather:
    """The callers of one statement, whose parameter `given` is a JSON array with an object for each of them."""

    def __init__(self, pool: PatientPool, statement: str) -> None:
        self._pool = pool
        self._statement = statement
        self._queue: deque[_Call] = deque()
        self._senders: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """On leaving, what callers wait for is sent first."""
        try:
            yield
        finally:
            self._closed = True
            await asyncio.gather(*self._senders, return_exceptions=True)
            _fail(self._queue, CheckpointerClosed())  # a sender was cancelled; nobody is to wait for ever

    async def rows(self, parameters: Parameters) -> list[Row]:
        """Return the row of the run `parameters["run"]`, or none, once it is committed.

        Raises DatabaseUnreachable, or what the server says to this row.
        """
        if self._closed:
            raise CheckpointerClosed
        call = _Call(parameters["run"], _json(parameters), asyncio.get_running_loop().create_future())
        self._queue.append(call)
        if len(self._senders) < IN_FLIGHT:
            # In a context of its own: it also works for callers that come later.
            sender = asyncio.create_task(self._send_all(), name="ledger-sender", context=Context())
            self._senders.add(sender)
        return await call.answer

    async def _send_all(self) -> None:
        batch: list[_Call] = []
        try:
            while batch := self._take():
                await self._send(batch)
        finally:
            self._senders.discard(asyncio.current_task())
            _fail(batch, CheckpointerClosed())  # those whom a cancellation left without an answer
            if not self._senders:
                _fail(self._queue, CheckpointerClosed())
                self._queue.clear()

    def _take(self) -> list[_Call]:
        """Return who is to be sent next. Who asks for the same run as another one of them stays."""
        batch: dict[str, _Call] = {}
        stay: list[_Call] = []
        size = 0
        while self._queue and len(batch) < BATCH_CALLS and size < BATCH_SIZE:
            call = self._queue.popleft()
            if call.answer.done():  # cancelled
                continue
            if call.run in batch:
                stay.append(call)
                continue
            batch[call.run] = call
            size += len(call.given)
        self._queue.extendleft(reversed(stay))
        return list(batch.values())

    async def _send(self, batch: Sequence[_Call]) -> DatabaseUnreachable | None:
        """Tell all of the batch what came of it. It returns why nothing did, and raises only what ends the process."""
        try:
            rows = await self._pool.repeat(partial(self._execute, batch))
        except DatabaseUnreachable as error:
            # Who came meanwhile has waited through the same outage, and would wait as long again.
            _fail([*batch, *self._queue], error)
            self._queue.clear()
            return error
        except Exception as error:  # noqa: BLE001 - raised again, by the caller whose row it was
            if len(batch) == 1:
                _fail(batch, error)
                return None
            half = len(batch) // 2
            lost = await self._send(batch[:half])
            if lost:
                _fail(batch[half:], lost)
                return lost
            return await self._send(batch[half:])
        for call in batch:
            if not call.answer.done():  # as it is when its caller was cancelled
                call.answer.set_result([rows[call.run]] if call.run in rows else [])
        return None

    async def _execute(self, batch: Sequence[_Call]) -> Mapping[str, Row]:
        given = {"given": f"[{','.join(call.given for call in batch)}]"}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(self._statement, given)
            return {row["run_id"]: row for row in await cursor.fetchall()}


def _fail(calls: Iterable[_Call], error: Exception) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)


def _json(parameters: Parameters) -> str:
    """Return parameters as JSON, with bytes as PostgreSQL reads them from a text."""
    texts = {name: f"\\x{value.hex()}" for name, value in parameters.items() if isinstance(value, bytes)}
    return encode({**parameters, **texts})
