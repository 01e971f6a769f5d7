"""Which database a process uses: two that do not use the same one do not see each other's threads."""

import asyncio
import sqlite3
from contextlib import closing
from urllib.parse import quote

from ..agent import AgentSettings
from ..persistence.inspection import Place
from ..persistence.sqlite_url import sqlite_path
from ..persistence.urls import describe, is_embedded, normalise
from ..runs import ThreadId
from .finding import Finding, fine, lasted

SKEW = 5.0  # seconds
FIND_THREAD = "SELECT 1 FROM checkpoints WHERE thread_id = ? LIMIT 1"


async def place(settings: AgentSettings, found: Place | None) -> Finding:
    """Say where the threads are kept, so that two processes can be compared. None: nobody was asked."""
    if found is None and not is_embedded(settings.checkpoint_url):
        where = describe(settings.checkpoint_url, parameters=True)
        return fine("place", f"{where}; every process must have the same DATABASE_URL")
    if found is None:
        path = await asyncio.to_thread(sqlite_path(normalise(settings.checkpoint_url)).resolve)
        return fine("place", f"{path}, a file of this machine: processes on other machines have other threads")
    return fine("place", f"{found.name}; every process must show the same identity: {found.identity}")


def clock(ahead: float) -> Finding:
    """Compare the clocks."""
    said = f"the database's is {lasted(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this machine's"
    if abs(ahead) <= SKEW:
        return fine("clock", said)
    return Finding(
        "clock",
        "warning",
        f"{said}. Leases and questions go by the database's clock alone, and checkpoints keep their order; but what "
        "this machine logs, what it puts off until later, and the age of its threads is as much too early or too late. "
        "Set the clocks by NTP (timedatectl)",
    )


async def in_local_file(settings: AgentSettings, thread: ThreadId) -> str:
    """Return the file of this machine, other than the database in use, in which the thread is; or nothing."""
    path = settings.data_dir / "threads.db"
    used = normalise(settings.checkpoint_url)
    if used.startswith("sqlite:") and sqlite_path(used).absolute() == path.absolute():
        return ""

    def look() -> bool:
        if not path.is_file():
            return False
        try:
            with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
                return connection.execute(FIND_THREAD, (thread,)).fetchone() is not None
        except sqlite3.Error:
            return False

    return str(path.absolute()) if await asyncio.to_thread(look) else ""
