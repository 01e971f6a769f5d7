"""Opening the runs of a process: the checkpointer, the graph compiled once, and the queue if there is one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, cast

from ..agent import AgentSettings, build_graph, checkpoint_types
from ..errors import PROGRAM
from ..persistence import Also, open_checkpointer, open_ledger
from ..persistence.urls import has_queue
from ..rooms import optional
from .runs import Runs


class _Queue(Protocol):
    enqueue: Also


@asynccontextmanager
async def open_runs(settings: AgentSettings) -> AsyncIterator[Runs]:
    """Yield the process's `Runs`; on leaving, the checkpointer and its connections close.

    Raises the errors of `persistence`, each with its remedy, when the database cannot be used.
    """
    async with open_checkpointer(settings.checkpoint_url, settings=settings, types=checkpoint_types) as checkpointer:
        graph = build_graph().compile(checkpointer=checkpointer, name=PROGRAM)
        async with Runs(graph, settings, open_ledger(checkpointer, _queue(settings))) as runs:
            yield runs


def _queue(settings: AgentSettings) -> Also | None:
    """Return what makes a job for each run that is ready; None without workers, or without a queue."""
    room = optional("worker.queue") if has_queue(settings.checkpoint_url) else None
    return cast("_Queue", room).enqueue if room else None
