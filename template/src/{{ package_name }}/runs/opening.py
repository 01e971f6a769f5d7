"""Opening the runs of a process: the checkpointer, and the graph compiled once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..agent import AgentSettings, build_graph, checkpoint_types
from ..errors import PROGRAM
from ..persistence import open_checkpointer
from .runs import Runs


@asynccontextmanager
async def open_runs(settings: AgentSettings) -> AsyncIterator[Runs]:
    """Yield the process's `Runs`; on leaving, the checkpointer and its connections close.

    Raises the errors of `persistence`, each with its remedy, when the database cannot be used.
    """
    async with open_checkpointer(settings.checkpoint_url, settings=settings, types=checkpoint_types) as checkpointer:
        yield Runs(build_graph().compile(checkpointer=checkpointer, name=PROGRAM), settings)
