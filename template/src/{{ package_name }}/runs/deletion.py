"""Deleting a thread while others may be at work on it."""

from langgraph.checkpoint.base import BaseCheckpointSaver

from ..persistence import Fence, fenced
from .keeper import Keeper
from .reservation import reserved
from .threads import ThreadId


async def delete_thread(checkpointer: BaseCheckpointSaver[str], keeper: Keeper, thread: ThreadId, actor: str) -> None:
    """Cancel what runs on the thread, and delete its checkpoints, its runs and its questions; the audit stays.

    Under a graph that goes on writing a deleted thread would come back. So its runs lose their leases first, and the
    thread is reserved until it is gone: no run can begin meanwhile.
    """
    ledger, gone = keeper.ledger, False
    while not gone:
        for run in await ledger.line(thread):
            await ledger.cancel(run.run_id, actor=actor, reason="its thread is deleted")
        async with reserved(keeper, thread, "delete") as entry:
            if entry:
                with fenced(Fence(entry.run_id, entry.attempt)):
                    await checkpointer.adelete_thread(thread)
                await ledger.note("deleted", entry, "", actor=actor)
                gone = True
    await ledger.forget(thread)
