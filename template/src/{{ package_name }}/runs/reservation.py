"""Having a thread for oneself, to delete it, copy to it or purge it: an entry in the ledger as a run has one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from ..persistence import Ledger, Run
from .holder import claiming
from .keeper import Keeper
from .threads import ThreadId

COPY = "copy"  # the purpose of what `copy-threads` reserves
_MARK = "$reserved"  # no graph has an input of this one key


@asynccontextmanager
async def reserved(keeper: Keeper, thread: ThreadId, purpose: str) -> AsyncIterator[Run | None]:
    """Yield the entry, or None if a run of the thread is not over; no run can begin before the block ends.

    A process that dies in the block leaves an entry that whoever finds it only notes as failed.
    """
    ledger = keeper.ledger
    run = await reserve(ledger, thread, purpose)
    if run is None:
        yield None
        return
    async with keeper.keeping(run):
        try:
            yield run
        except BaseException:
            await ledger.settle(run, "failed", error=f"{purpose} was not finished")
            raise
        await ledger.settle(run, "done")


async def reserve(ledger: Ledger, thread: ThreadId, purpose: str) -> Run | None:
    """Make the entry, which the caller is to keep and to end; None as above."""
    with claiming() as holder:
        return await ledger.begin(f"{purpose}-{uuid4()}", thread, {_MARK: purpose}, holder=holder)


def is_copy(run_id: str) -> bool:
    """Tell whether a run is what a copy has reserved a thread by."""
    return run_id.startswith(f"{COPY}-")


def purpose_of(payload: object) -> str:
    """Return what a run's payload reserved the thread for; nothing if it is a run of the graph."""
    return str(payload[_MARK]) if isinstance(payload, dict) and payload.keys() == {_MARK} else ""
