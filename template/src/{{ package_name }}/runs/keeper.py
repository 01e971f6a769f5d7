"""Keeping leases: signs of life for the runs that this process executes, and word of those that it must let go.

A run whose holder is silent for LEASE seconds may be taken over by anybody. That it has been, or was cancelled, or is
to stop for a newer one, the holder hears at once, from the database's notice, or with its next sign of life; and should
it hear nothing, its next write is refused.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from langgraph.runtime import RunControl

from ..cancelling import cancellations, end
from ..persistence import DatabaseUnreachable, LeaseLost, Ledger, Run

logger = logging.getLogger(__name__)

BEAT = 5.0  # seconds between two signs of life
LOOK = 0.05  # seconds at least between two looks: in a busy database something changes all the time
PAUSE = 1.0  # seconds after a failure
LEASE = 20.0  # seconds of silence after which a run may be taken over

T = TypeVar("T")


class Held:
    """A run that is executed here."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.control = RunControl()
        self.lost = False
        self._begun = False
        self._superseded = False
        self._work: asyncio.Task[Any] | None = None

    async def carry_out(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the work returns. Raises LeaseLost, and ends the work, once the lease is known to be lost."""
        task = asyncio.create_task(work, name=f"run-{self.run.run_id}")
        self._work = task
        try:
            return await task
        except asyncio.CancelledError:
            if self.lost and not cancellations():
                raise LeaseLost(self.run.run_id, self.run.attempt) from None
            raise
        finally:
            if not task.done():
                await end(task)

    def begin(self) -> None:
        """Note that a node begins to work: the input is in the state by now."""
        self._begun = True
        if self._superseded:
            self.control.request_drain(SUPERSEDED)

    def supersede(self) -> None:
        """Let the run end at its next superstep, but not before its input is in the state.

        LangGraph stores an input twice: as an input, which the next one would replace, and one step later in the state.
        """
        self._superseded = True
        if self._begun:
            self.control.request_drain(SUPERSEDED)

    def lose(self) -> None:
        """End the work: somebody else has the run."""
        self.lost = True
        if self._work:
            self._work.cancel()


class Keeper:
    """The leases of a process."""

    def __init__(self, ledger: Ledger, beat: float | None = None) -> None:
        self.ledger = ledger
        self._beat = beat or BEAT
        self._held: dict[str, Held] = {}
        self._task: asyncio.Task[None] | None = None
        self._draining = ""

    @property
    def running(self) -> list[Run]:
        """The runs that are executed here."""
        return [held.run for held in self._held.values()]

    def draining(self, thread: str) -> bool:
        """Whether a run of the thread is executed here and will stop at its next superstep."""
        return any(held.control.drain_requested for held in self._held.values() if held.run.thread_id == thread)

    @asynccontextmanager
    async def keeping(self, run: Run) -> AsyncIterator[Held]:
        """Keep the lease of a run that was claimed for as long as the block lasts."""
        held = Held(run)
        if self._draining:
            held.control.request_drain(self._draining)
        self._held[run.run_id] = held
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep(), name="lease-keeper")
        try:
            yield held
        finally:
            if self._held.get(run.run_id) is held:
                del self._held[run.run_id]

    def drain(self, reason: str) -> None:
        """Let all runs stop at their next superstep, and those that come."""
        self._draining = reason
        for held in self._held.values():
            held.control.request_drain(reason)

    async def close(self) -> None:
        """Stop keeping."""
        if self._task:
            await end(self._task)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        next_beat = loop.time() + self._beat
        while self._held:
            seen = self.ledger.store.ticks
            due = loop.time() >= next_beat
            if due:
                next_beat = loop.time() + self._beat
            try:
                held = dict(self._held)
                look = self.ledger.beat if due else self.ledger.look
                for now in await look([one.run for one in held.values()]):
                    self.judge(held[now.run_id], now)
                await asyncio.sleep(LOOK)
                await self.ledger.store.changes(seen, max(0.0, next_beat - loop.time()))
            except DatabaseUnreachable as error:
                logger.warning("no sign of life could be given: %s", error)
                await asyncio.sleep(PAUSE)
            except Exception:
                logger.exception("no sign of life could be given")
                await asyncio.sleep(PAUSE)

    def judge(self, held: Held, now: Run) -> None:
        """Let a run go if it is not ours any more, and stop it at its next superstep if that is wished."""
        if self._held.get(now.run_id) is not held:
            return  # it has ended meanwhile
        if now.attempt != held.run.attempt:
            logger.warning("run %s is not ours any more: it is %s", now.run_id, now.status)
            held.lose()
        elif now.wish == "drain":
            held.supersede()


SUPERSEDED = "a newer run of the thread was accepted"
"""The reason of a drain that ends the run; any other one hands it over."""
