"""State that is lost: the thread, or a part of it, is not where this process looks.

Nobody can look into a database that it does not know. So what is compared is what the ledger has of each run (who
executed it, which release and graph accepted it, whether its input came into the thread), and what this process can
reach: the local file, the other schemas and the other databases of its server.
"""

import re
from collections.abc import AsyncIterator

from ..agent import AgentSettings, build_graph
from ..errors import PROGRAM
from ..persistence import Run
from ..persistence.inspection import Inspection
from ..persistence.ledger import statements as sql
from ..persistence.urls import is_embedded
from ..runs import Runs, ThreadId, job_of
from ..runs.config import graph_version, project_version
from ..runs.holder import describe
from .finding import Finding, clock_time, wrong
from .place import in_local_file

LOOKED_AT = 50  # runs of the thread, and lines of its audit
NAMED = 3
ONE_OFF = "cli"  # the job of runs that were started without --thread-id: they have nothing to do with each other

SIBLINGS = """
SELECT thread_id, count(*) AS runs, max(accepted_at) AS latest FROM agent_runs
WHERE thread_id LIKE %(pattern)s AND thread_id <> %(thread)s
GROUP BY thread_id
ORDER BY latest DESC
LIMIT %(limit)s
"""
_ENTRY = re.compile(r"(delete|purge|fork)-")  # not a run of the graph: see runs.reservation


async def whereabouts(
    settings: AgentSettings, runs: Runs, inspection: Inspection | None, thread: ThreadId
) -> AsyncIterator[Finding]:
    """Say where a thread is that this process does not find."""
    known = False
    for entry in await runs.ledger.audit(thread, LOOKED_AT):
        if entry.kind == "deleted":
            known = True
            yield wrong(f"the thread was deleted at {clock_time(entry.at)} by {entry.actor}. {entry.detail}".strip())
            break
    places = await inspection.elsewhere(thread) if inspection else []
    if file := await in_local_file(settings, thread):
        places.append(f"the file {file}, which processes without DATABASE_URL use")
    for place in places:
        known = True
        yield wrong(
            f"different database: the thread is in {place}, and DATABASE_URL of this process names another place. "
            "Give all processes the same DATABASE_URL"
        )
    async for finding in _siblings(runs, thread, unknown=True):
        known = True
        yield finding
    if known:
        return
    if is_embedded(settings.checkpoint_url):
        yield wrong(
            "different database: this process keeps its threads in a file of its own machine (see place), where no "
            "other machine's are. Set DATABASE_URL to one server for all processes; with "
            "ENVIRONMENT=production none starts without DATABASE_URL"
        )
    else:
        yield wrong(
            "no process that uses this database has accepted a run of the thread, nor is it anywhere else on this "
            f"server. Type `{PROGRAM} doctor --thread {thread}` where the run was started, and compare the identities"
        )


async def doubts(runs: Runs, thread: ThreadId) -> AsyncIterator[Finding]:
    """Say what may have been lost of a thread that is there."""
    newest = [run for run in await runs.ledger.newest(thread, LOOKED_AT) if not _ENTRY.match(run.run_id)]
    head = (await runs.ledger.store.rows(sql.HEAD, {"thread": thread}))[0]["head"]
    for run in newest:
        # The transaction that stores a run's input checkpoint empties its input: so this one's is not in here.
        if run.has_input and run.status in {"done", "waiting"}:
            yield wrong(
                f"different checkpointer: {describe(run.holder)} executed run {run.run_id} to the status {run.status} "
                f"(release {run.release}), and stored no checkpoint of it in this database. It was given an "
                "InMemorySaver, or the checkpointer of another database: open the runs with open_runs(settings) there"
            )
            break
    else:
        if not head and any(run.status in {"done", "waiting"} for run in newest):
            yield wrong(
                "the ledger has the thread's runs, and the table checkpoints has nothing of it: it was emptied, or "
                "restored from another backup. Restore all tables from the same one"
            )
    async for finding in _siblings(runs, thread, unknown=False):
        yield finding
    for finding in _versions(newest):
        yield finding
    machines = sorted({describe(run.holder).partition(" on ")[2] for run in newest if run.holder})
    if machines:
        yield Finding("machines", "ok", f"its runs were executed on {', '.join(machines)}")


def _versions(newest: list[Run]) -> list[Finding]:
    ours = f"graph {graph_version(build_graph().compile())}, release {project_version()}"
    seen: dict[str, str] = {}
    for run in newest:
        seen.setdefault(f"graph {run.graph_version}, release {run.release}", clock_time(run.accepted_at))
    if set(seen) <= {ours}:
        return []
    listed = "; ".join(f"{version} (the last at {at})" for version, at in list(seen.items())[:NAMED])
    return [
        Finding(
            "versions",
            "warning",
            f"different graph versions: its runs were accepted by {listed}, and this process has {ours}. Finish the "
            "deployment, so that all processes have the same release",
        )
    ]


async def _siblings(runs: Runs, thread: ThreadId, *, unknown: bool) -> AsyncIterator[Finding]:
    """Look for the same job under other ids: whoever makes a new id for each call begins anew each time."""
    job, kind = job_of(thread), thread.partition("-")[0]
    if job in {thread, ONE_OFF}:
        return
    parameters = {"pattern": f"{kind}-{job}-%", "thread": thread, "limit": LOOKED_AT}
    found = [row for row in await runs.ledger.store.rows(SIBLINGS, parameters) if job_of(row["thread_id"]) == job]
    if found:
        named = ", ".join(row["thread_id"] for row in found[:NAMED])
        yield Finding(
            "cause" if unknown else "thread ids",
            "wrong" if unknown else "warning",
            f"changing thread id: job {job} has {len(found)} other threads, such as {named}. If they are one "
            "conversation, keep the id that the first run got: new_thread_id() makes another one with each call",
        )
