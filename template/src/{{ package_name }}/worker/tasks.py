"""What a worker's jobs do: execute a run, and look after the queue and the database from time to time."""

import logging
from contextlib import suppress
from functools import partial

from croniter import croniter  # type: ignore[import-untyped] # procrastinate's, without stubs
from procrastinate import App
from procrastinate.jobs import Status
from psycopg.errors import RaiseException

from ..runs import Runs
from .connector import PatientConnector
from .errors import BadSchedule
from .queue import EXECUTE, QUEUE, enqueue

logger = logging.getLogger(__name__)

MAINTENANCE = "maintenance"
TIDY = "* * * * * */30"  # cron with seconds
DEAD = 60.0  # seconds without a sign of life after which a worker's row and jobs are forgotten; a drain takes less

FRESH = 10.0  # seconds after which a job that was fetched, and whose run nobody has claimed, is taken for lost

# No index leads from a run to its jobs: this looks through all that wait, and so is asked for stranded runs only.
WITHOUT_JOB = """
SELECT run_id FROM unnest(%(runs)s::text[]) AS run_id
WHERE NOT EXISTS (
    SELECT 1 FROM procrastinate_jobs AS job
    WHERE queue_name = %(queue)s AND status IN ('todo', 'doing') AND args ->> 'run_id' = run_id
        AND (status = 'todo' OR EXISTS (
            SELECT 1 FROM procrastinate_events
            WHERE job_id = job.id AND type = 'started' AND at > now() - make_interval(secs => %(fresh)s)
        ))
)
"""


def build_app(runs: Runs, connector: PatientConnector) -> App:
    """Return procrastinate's app with the tasks of a worker that executes these runs. Raises BadSchedule."""
    app = App(connector=connector)

    @app.task(name=EXECUTE, queue=QUEUE)
    async def execute(run_id: str) -> None:
        """Execute a run, if it is still to be. Its error has been noted in the ledger when it is raised."""
        await runs.execute(run_id, retry=True)

    @app.periodic(cron=TIDY)
    @app.task(name="tidy", queue=MAINTENANCE, queueing_lock="tidy")
    async def tidy(timestamp: int) -> None:
        del timestamp
        await forget_the_dead(app)
        await knock_again(runs)

    schedule = runs.settings.purge_schedule
    if not schedule:
        return app
    if not croniter.is_valid(schedule):
        raise BadSchedule(schedule)

    @app.periodic(cron=schedule)
    @app.task(name="purge", queue=MAINTENANCE, queueing_lock="purge")
    async def purge(timestamp: int) -> None:
        del timestamp
        logger.info("purged: %s", await runs.purge())

    return app


async def forget_the_dead(app: App) -> None:
    """Delete the rows of workers that have died, and the jobs that they had: the ledger has seen to the runs."""
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=DEAD):
        with suppress(RaiseException):  # somebody else has, just now
            await app.job_manager.finish_job(job, Status.FAILED, delete_job=True)
    await app.job_manager.prune_stalled_workers(DEAD)


async def knock_again(runs: Runs) -> None:
    """Make a job for each run that is in the queue and has none: it was lost, perhaps with who fetched it."""
    stranded = {run.run_id: run for run in (await runs.recover()).stranded}
    if not stranded:
        return
    rows = await runs.ledger.store.rows(WITHOUT_JOB, {"runs": list(stranded), "queue": QUEUE, "fresh": FRESH})
    for run in (stranded[row["run_id"]] for row in rows):
        logger.warning("run %s waits without a job: it gets one", run.run_id)
        await runs.ledger.store.transaction(partial(enqueue, run=run))
