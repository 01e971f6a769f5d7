"""The whole deployment: this process, its database, and the runs."""

from collections.abc import AsyncIterator, Sequence

from ..agent import AgentSettings
from ..errors import PROGRAM, ProjectError
from ..persistence import Ledger, Run, facts_of, open_checkpointer, open_ledger, try_storing
from ..persistence.inspection import Inspection, open_inspection
from ..persistence.urls import describe, is_embedded
from ..runs import Policy
from ..runs.recovery import STRANDED
from ..runs.reservation import is_copy
from ..runs.status import is_abandoned
from ..settings import redact
from .environment import environment
from .finding import Finding, clock_time, fine, lasted, since, unusable
from .place import clock, place

MOST = 1000  # runs or questions that are counted
NAMED = 3  # of them, at most
LONG_WAIT = 1.0  # seconds for a lock
FULL = 0.9  # of the server's connections


async def diagnose(settings: AgentSettings, problems: Sequence[Finding] = ()) -> list[Finding]:
    """Return the findings, all of them: one that is wrong does not hide the others.

    `problems` are what `read_settings` found.
    """
    found = [*problems, *environment(settings)]
    ahead = 0.0
    try:
        async with open_inspection(settings) as inspection:
            here = await inspection.place() if inspection else None
            found.append(await place(settings, here))
            if inspection and here:
                ahead = here.clock_ahead
                found += [clock(ahead), *[finding async for finding in _server(settings, inspection)]]
    except ProjectError as error:
        found.append(unusable(error))
        if not settings.database_direct_url.get_secret_value():
            return found
    if settings.environment == "production" and not settings.database_url.get_secret_value():
        return found  # a file that nobody wants would be made
    try:
        async with open_checkpointer(settings.checkpoint_url, settings=settings) as checkpointer:
            found.append(fine("database", f"{describe(settings.checkpoint_url)} answers, its tables are up to date"))
            found.append(fine("storing", await try_storing(checkpointer)))
            found += [fine("server", said) for said in await facts_of(checkpointer)]
            found += [finding async for finding in _runs(settings, open_ledger(checkpointer), ahead)]
    except ProjectError as error:
        found.append(unusable(error))
    except Exception as error:
        if not problems:
            raise
        found.append(Finding("database", "wrong", redact(f"cannot be opened with these settings: {error}")))
    return found


async def _server(settings: AgentSettings, inspection: Inspection) -> AsyncIterator[Finding]:
    room = await inspection.room()
    clients = ", ".join(f"{number} of {name} from {client or 'here'}" for name, client, number in room.clients)
    used = f"{room.used} of {room.most} connections of the server are open, on this database {clients or 'none'}"
    free = room.most - room.used
    if free < settings.database_pool_max and room.used > FULL * room.most:
        yield Finding(
            "pool",
            "warning",
            f"{used}; DATABASE_POOL_MAX={settings.database_pool_max} may be more than are free: lower it, raise "
            "max_connections, or put a pooler between",
        )
    else:
        yield fine("pool", f"{used}; this process takes up to {settings.database_pool_max} (DATABASE_POOL_MAX)")
    for wait in await inspection.waits(LONG_WAIT):
        yield Finding(
            "locks",
            "wrong",
            f"{wait.waiting} has waited {lasted(wait.seconds)} for {', '.join(map(str, wait.blockers))} with: "
            f"{wait.statement}. Ask `{PROGRAM} doctor --schema`",
        )
    queue = await inspection.queue()
    if queue is None:
        yield fine("workers", "this database has no queue: runs are executed by whoever starts them")
    elif queue.alive:
        yield fine("workers", f"{queue.alive} alive, {queue.silent} silent; {queue.waiting} jobs wait")
    else:
        last = f", the last one gave a sign of life {lasted(queue.last)} ago" if queue.last is not None else ""
        yield Finding(
            "workers", "warning", f"none is alive{last}; {queue.waiting} jobs wait. Start one: {PROGRAM} worker"
        )


async def _runs(settings: AgentSettings, ledger: Ledger, ahead: float) -> AsyncIterator[Finding]:
    if not is_embedded(settings.checkpoint_url):
        purges = [entry for entry in await ledger.audit("", NAMED) if entry.kind == "purged"]
        last = f"purged last at {clock_time(purges[0].at)}: {purges[0].detail}" if purges else "never purged"
        yield fine("retention", f"{Policy.of(settings)}; {last}")
    counts = await ledger.counts()
    yield fine("runs", ", ".join(f"{number} {status}" for status, number in sorted(counts.items())) or "none yet")
    silent = [run for run in await ledger.lost(0.0, MOST) if is_abandoned(run)]
    copies = [run for run in silent if is_copy(run.run_id)]
    if copies:
        yield Finding(
            "copies",
            "wrong",
            f"{_list(copies)}: the copy of these threads from another database was cut off. Type: {PROGRAM} "
            "copy-threads FROM_URL TO_URL, as before, which goes on",
        )
    abandoned = [run for run in silent if run not in copies]
    if abandoned:
        yield Finding(
            "abandoned runs",
            "wrong",
            f"{_list(abandoned)}: their processes have died or are silent, and nobody has gone on. Type: "
            f"{PROGRAM} resume --abandoned; where there is a queue, a worker does so",
        )
    stranded = await ledger.stranded(STRANDED, MOST)
    if stranded:
        yield Finding(
            "stranded runs",
            "wrong",
            f"{_list(stranded)}: queued, and nobody begins them. Type: {PROGRAM} resume --abandoned; where there is a "
            "queue, a worker does so",
        )
    late = [asked for asked in await ledger.open_questions(MOST) if asked.until and since(asked.until, ahead) > 0]
    if late:
        yield Finding(
            "overdue questions",
            "warning",
            f"{len(late)} are open longer than APPROVAL_HOURS (APPROVAL_EXPIRY={settings.approval_expiry}): see "
            f"`{PROGRAM} threads --waiting`",
        )


def _list(runs: Sequence[Run]) -> str:
    named = ", ".join(run.thread_id for run in runs[:NAMED])
    return f"{len(runs)} (threads {named}{', ...' if len(runs) > NAMED else ''})"
