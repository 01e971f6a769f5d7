"""A thread's runs go one after the other: waiting for a run's turn, and seeing to it that the turn comes.

Whoever waits looks after those before it: one whose process has died is gone on with, by who waits. So an accepted run
does not wait for ever behind a dead one, be there a worker or not.
"""

import asyncio
from dataclasses import dataclass

from ..persistence import Ledger, Run
from .holder import claiming
from .status import is_abandoned

PAUSE = 1.0  # seconds between two looks, if no notice comes
STRANDED = 5.0  # seconds after which a queued run before ours that nobody begins is begun by us


@dataclass(frozen=True)
class Turn:
    """A run to execute, claimed by this process: the one that was waited for, or one before it. None: nothing to do."""

    ours: Run | None


class Line:
    """The lines of all threads."""

    def __init__(self, ledger: Ledger, crash_limit: int) -> None:
        self._ledger = ledger
        self._crash_limit = crash_limit

    async def wait(self, run: Run) -> Turn:
        """Return what is to be executed next for this run to go on; nothing once it is over, or a question is open."""
        loop = asyncio.get_running_loop()
        first, since = "", 0.0
        while True:
            seen = self._ledger.store.ticks
            line = await self._ledger.line(run.thread_id)
            if all(found.run_id != run.run_id for found in line) or line[0].status == "waiting":
                return Turn(None)
            head = line[0]
            if head.run_id != first:
                first, since = head.run_id, loop.time()
            claimed = None
            if head.status == "queued" and (head.run_id == run.run_id or loop.time() > since + STRANDED):
                with claiming() as holder:
                    claimed = await self._ledger.claim(head.run_id, holder)
            elif head.status == "running" and is_abandoned(head):
                with claiming() as holder:
                    claimed = await self._ledger.take_over(head, holder, crash_limit=self._crash_limit)
                if claimed is None or claimed.status != "running":  # it moved meanwhile, or was given up
                    continue
            if claimed:
                return Turn(claimed)
            await self._ledger.store.changes(seen, PAUSE)
