"""One thread: why it does not go on, or where its state has gone."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from ..agent import AgentSettings
from ..errors import PROGRAM, ProjectError
from ..persistence.inspection import Inspection, open_inspection
from ..runs import Runs, ThreadId, UnknownThread, open_runs, thread_id
from .finding import Finding, unusable
from .lost import doubts, whereabouts
from .place import clock, place
from .progress import cause, line_behind

LOCK_WAIT = 1.0  # seconds that a lock may be in use by somebody who is at work


async def diagnose_thread(settings: AgentSettings, thread: str, problems: Sequence[Finding] = ()) -> list[Finding]:
    """Return what there is to say about a thread. Raises BadThreadId."""
    id_ = thread_id(thread)
    found = list(problems)
    try:
        async with open_inspection(settings) as inspection:
            here = await inspection.place() if inspection else None
            found.append(await place(settings, here))
            lock = None
            if inspection and here:
                found.append(clock(here.clock_ahead))
                lock = await _lock(inspection, id_)
                found += [lock] if lock else []
            # The lock may be one that keeps readers out, too.
            async with asyncio.timeout(settings.database_timeout if lock else None), open_runs(settings) as runs:
                ahead = here.clock_ahead if here else 0.0
                found += [finding async for finding in _findings(settings, runs, inspection, id_, ahead)]
    except TimeoutError:
        found.append(Finding("thread", "warning", "cannot be read either for as long as the lock is held"))
    except ProjectError as error:
        found.append(unusable(error))
    return found


async def _lock(inspection: Inspection, thread: ThreadId) -> Finding | None:
    blockers = await inspection.blockers(thread, LOCK_WAIT)
    if blockers is None:
        return None
    who = ", ".join(map(str, blockers)) or "a session that has just gone"
    remedy = f", or end it: SELECT pg_terminate_backend({blockers[0].pid});" if blockers and blockers[0].pid else ""
    return Finding(
        "lock", "wrong", f"nothing can be stored for the thread: {who} holds a lock. Let that session finish{remedy}"
    )


async def _findings(
    settings: AgentSettings, runs: Runs, inspection: Inspection | None, thread: ThreadId, ahead: float
) -> AsyncIterator[Finding]:
    try:
        status = await runs.status(thread)
    except UnknownThread:
        async for finding in whereabouts(settings, runs, inspection, thread):
            yield finding
        return
    yield await cause(runs, inspection, status, ahead)
    for finding in line_behind(await runs.ledger.line(thread), ahead):
        yield finding
    async for finding in doubts(runs, thread):
        yield finding
    yield Finding("next", "ok", f"{PROGRAM} show {thread}")
