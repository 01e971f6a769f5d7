"""Ending tasks of asyncio for certain.

Cancelled once, a task may go on for ever: until Python 3.12 `asyncio.wait_for`, by which drivers wait for their
sockets, forgets a cancellation that comes at the moment at which it has what it waits for.
"""

import asyncio
from typing import Any

AGAIN = 1.0  # seconds


async def end(*tasks: asyncio.Task[Any], again: float = AGAIN) -> None:  # Any: results, which nobody waits for
    """Cancel the tasks, and return when they are over; those that are not after `again` seconds are cancelled again.

    What the tasks raise is theirs to tell: nothing is raised here.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=again)


def cancellations() -> int:
    """Return how often this task was cancelled, without what timeouts have taken back."""
    task = asyncio.current_task()
    return task.cancelling() if task else 0
