"""News of the ledger: PostgreSQL tells every process that a run has changed, so nobody has to ask all the time.

A notice may be lost: with its connection, or because the listener came too late. So who waits for one also looks by
itself from time to time, and nothing but the delay depends on it. It comes over a connection of its own, straight to
the server: a transaction pooler hands no notices on.
"""

import asyncio
import logging
from contextlib import suppress

import psycopg

from ...cancelling import end
from ...settings import Settings
from ..errors import DatabaseUnreachable
from ..postgres_connect import direct_connection

logger = logging.getLogger(__name__)

LISTEN = "LISTEN agent_runs"
PAUSE = 1.0  # seconds before a lost connection is made anew


class Notices:
    """Counts the changes that this process hears of. Nothing is connected before somebody waits."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.ticks = 0
        self._url = url
        self._settings = settings
        self._changed = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None

    def tell(self) -> None:
        """Wake all who wait in this process."""
        self.ticks += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, since: int, pause: float) -> None:
        """Return when `ticks` is not `since` any more, or after `pause` seconds."""
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen(), name="ledger-notices")
        if self.ticks == since:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    async def close(self) -> None:
        """End the connection."""
        if self._listener:
            await end(self._listener)

    async def _listen(self) -> None:
        while True:
            try:
                async with direct_connection(self._url, self._settings) as connection:
                    await connection.execute(LISTEN)
                    self.tell()  # something may have changed before we listened
                    async for _ in connection.notifies():
                        self.tell()
            except (DatabaseUnreachable, psycopg.Error) as error:
                logger.debug("no news of the ledger: %s", error)
            await asyncio.sleep(PAUSE)
