"""Group commit: the checkpoints of all runs of a process go to PostgreSQL together.

A commit costs a round trip and a flush to disk, whatever it holds. So a caller does not commit by itself: it puts its
rows into a queue and waits. A writer takes everything that the queue holds and stores it with one statement, which is
one transaction; what arrives while that is under way forms the next batch. Nobody waits for a timer: with one run the
queue is empty and its rows leave at once, with a hundred a batch holds as many as arrived during the last one. A caller
returns when its rows are committed, not before. Three rules keep that exact. A thread has rows in one batch under way
at most, in the order in which they came, so its writes are never stored after the checkpoint that follows them. Rows
are sorted by their keys, so two processes cannot block each other. And a batch that the server refuses is halved until
the refused row is alone, so that its caller fails and no other.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic

import psycopg

from .errors import CheckpointerClosed, CheckpointRefused, DatabaseUnreachable, LeaseLost
from .fence import INPUT, Fence
from .postgres_json import encode
from .postgres_retry import PatientPool
from .postgres_rows import Key, Row, Rows

BATCH_CALLS = 200  # a longer batch would keep the event loop busy, and its callers waiting, for no gain
BATCH_SIZE = 1 << 20  # bytes; a single call may have more
WAKE_CALLS = 4  # at once; a hundred runs that go on in the same instant would keep everything else from its turn
QUEUE_SIZE = 64 << 20  # bytes; callers wait while the queue holds more

STORE = Path(__file__).with_suffix(".sql").read_text("utf-8")


@dataclass(slots=True, eq=False)
class _Call:
    """One caller: what it stores and under which lease, how many bytes that is, and what it waits for."""

    rows: Rows
    fence: Fence | None
    size: int
    stored: asyncio.Future[None]


class GroupCommit:
    """The queue and its writers. `in_flight` batches may be under way at once."""

    def __init__(self, pool: PatientPool, in_flight: int) -> None:
        self._pool = pool
        self._figures = pool.figures
        self._in_flight = in_flight
        self._queue: deque[_Call] = deque()
        self._queued = 0  # bytes
        self._busy: set[str] = set()  # threads with rows under way
        self._arrived = asyncio.Event()
        self._left = asyncio.Event()
        self._closing = False

    def __len__(self) -> int:
        """Calls that wait for the next batch."""
        return len(self._queue)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run the writers; on leaving, what the queue holds is stored first."""
        names = [f"checkpoint-writer-{number}" for number in range(self._in_flight)]
        writers = [asyncio.create_task(self._write(), name=name) for name in names]
        try:
            yield
        finally:
            self._closing = True
            self._arrived.set()
            try:
                await asyncio.gather(*writers)
            finally:
                _tell(self._queue, CheckpointerClosed())  # a writer was cancelled; nobody is to wait for ever
                self._left.set()

    async def store(self, rows: Rows, fence: Fence | None = None) -> None:
        """Return when the rows are committed. Raises CheckpointRefused, DatabaseUnreachable or LeaseLost.

        A caller that is cancelled meanwhile leaves its rows behind: they are stored, as a finished node's should be.
        """
        size = rows.size
        while self._queued and self._queued + size > QUEUE_SIZE:
            self._left.clear()
            await self._left.wait()
        if self._closing:
            raise CheckpointerClosed
        call = _Call(rows, fence, size, asyncio.get_running_loop().create_future())
        self._queue.append(call)
        self._queued += size
        self._arrived.set()
        await call.stored

    async def _write(self) -> None:
        while self._queue or not self._closing:
            batch = self._take()
            if not batch:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            threads = {call.rows.thread_id for call in batch}
            self._busy |= threads
            try:
                await self._commit(batch)
            finally:
                _tell(batch, CheckpointerClosed())  # those whom a cancellation left without an answer
                self._busy -= threads
                self._arrived.set()  # for the other writers too: rows may have waited for these threads

    def _take(self) -> list[_Call]:
        """Return the next batch, oldest first. The calls of a busy thread stay, in their order."""
        batch: list[_Call] = []
        stay: list[_Call] = []
        size = 0
        while self._queue and len(batch) < BATCH_CALLS and not (batch and size + self._queue[0].size > BATCH_SIZE):
            call = self._queue.popleft()
            if call.rows.thread_id in self._busy:
                stay.append(call)
            else:
                batch.append(call)
                size += call.size
        self._queue.extendleft(reversed(stay))
        self._queued -= size
        self._left.set()
        return batch

    async def _commit(self, batch: list[_Call]) -> DatabaseUnreachable | None:
        """Store a batch and tell its callers. It returns why it could not, and raises only what ends the process."""
        began = monotonic()
        try:
            held = await self._pool.repeat(partial(self._send, _parameters(batch)))
        except DatabaseUnreachable as error:
            # Who came meanwhile has waited through the same outage, and would wait as long again in the next batch.
            _tell([*batch, *self._queue], error)
            self._queue.clear()
            self._queued = 0
            self._left.set()
            return error
        except Exception as error:  # noqa: BLE001 - raised again, by the caller whose rows they were
            # A row is refused, or two calls overwrite the same one, which a single statement cannot.
            if len(batch) == 1:
                self._figures.refused()
                # Another error than PostgreSQL's, or the text's on its way there, is a fault of ours.
                theirs = isinstance(error, psycopg.Error | UnicodeError)
                _tell(batch, CheckpointRefused(batch[0].rows.thread_id, error) if theirs else error)
                return None
            half = len(batch) // 2
            lost = await self._commit(batch[:half])
            if lost:  # the rest would wait as long again, and then be stored without what comes before it
                _tell(batch[half:], lost)
                return lost
            return await self._commit(batch[half:])
        else:
            size = sum(call.size for call in batch)
            self._figures.stored(len(batch), size, monotonic() - began, len(self._queue), self._pool.pool.get_stats())
            for number, call in enumerate(batch):
                if call.fence and number not in held:
                    _tell([call], LeaseLost(call.fence.run_id, call.fence.attempt))
            for first in range(0, len(batch), WAKE_CALLS):
                _tell(batch[first : first + WAKE_CALLS])
                await asyncio.sleep(0)
        return None

    async def _send(self, parameters: dict[str, str | bytes]) -> set[int]:
        """Store a batch and return the numbers of the calls whose leases hold."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(STORE, parameters)
            return {row["number"] for row in await cursor.fetchall()}


def _tell(calls: Sequence[_Call], error: Exception | None = None) -> None:
    for call in calls:
        if error and not call.stored.done():  # as it is when its caller was cancelled
            call.stored.set_exception(error)
        elif not call.stored.done():
            call.stored.set_result(None)


def _parameters(batch: Sequence[_Call]) -> dict[str, str | bytes]:
    parts: list[bytes] = []
    end = 1  # substr counts from one

    def records(rows: list[tuple[Row, str]]) -> str:
        nonlocal end
        rows.sort(key=_by_key)
        texts = []
        for row, lease in rows:
            texts.append(f'{{{lease}"at":{end},"size":{len(row.blob)},{row.columns[1:]}')
            parts.append(row.blob)
            end += len(row.blob)
        return f"[{','.join(texts)}]"

    leases = [f'"lease":{number},' if call.fence else "" for number, call in enumerate(batch)]
    calls = list(zip(batch, leases, strict=True))
    return {
        "leases": f"[{','.join(_lease(number, call.fence) for number, call in enumerate(batch) if call.fence)}]",
        "checkpoints": records([(row, lease) for call, lease in calls for row in call.rows.checkpoints]),
        "blobs": records([(row, lease) for call, lease in calls for row in call.rows.blobs]),
        "writes": records(
            [(row, lease) for call, lease in calls if not call.rows.overwrite for row in call.rows.writes]
        ),
        "overwrites": records(
            [(row, lease) for call, lease in calls if call.rows.overwrite for row in call.rows.writes]
        ),
        "blob": b"".join(parts),
    }


def _by_key(pair: tuple[Row, str]) -> Key:
    return pair[0].key


def _lease(number: int, fence: Fence) -> str:
    lease = {"number": number, "run_id": fence.run_id, "attempt": fence.attempt}
    return encode({**lease, "input": fence.gives == INPUT, "answer": "" if fence.gives == INPUT else fence.gives})
