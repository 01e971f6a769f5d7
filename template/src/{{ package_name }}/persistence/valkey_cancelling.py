"""A cancellation that comes while redis-py sends is heeded; until Python 3.12 `asyncio.wait_for` forgets it there."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from ..cancelling import cancellations

T = TypeVar("T")


async def heeding(call: Awaitable[T]) -> T:
    """Return what a call of a driver returns. Raises CancelledError if it has forgotten a cancellation meanwhile."""
    before = cancellations()
    try:
        done = await call
    except Exception:
        await _heed(before)
        raise
    await _heed(before)
    return done


async def _heed(before: int) -> None:
    if cancellations() > before:
        await asyncio.sleep(0)  # anyio, which knows its cancellations by their text, sends its own again
        raise asyncio.CancelledError
