"""Why a run stays in the queue."""

from ..errors import PROGRAM
from ..persistence import Run
from ..persistence.inspection import Inspection, Job
from ..runs.recovery import STRANDED
from ..settings import Settings
from .finding import Finding, Level, because, lasted


async def queued(settings: Settings, inspection: Inspection | None, run: Run, lasts: float) -> Finding:
    """Name the cause for the first run of a thread, which has been queued for so many seconds."""
    job = await inspection.job(run.run_id) if inspection else None
    said, go_on = _said(settings, run, lasts), f"or type: {PROGRAM} resume {run.thread_id}"
    level: Level = "ok" if lasts < STRANDED else "wrong"
    if job and job.due > 0:
        return because("warning", f"{said}. Its turn comes in {lasted(job.due)}; {go_on}")
    return because(level, f"{said}; {await _nobody(inspection, job)}; {go_on}")


def _said(settings: Settings, run: Run, lasts: float) -> str:
    if not run.retries:
        return f"queued for {lasted(lasts)}"
    return f"retries: put back after an error ({run.retries} of RUN_RETRIES={settings.run_retries}): {run.error}"


async def _nobody(inspection: Inspection | None, job: Job | None) -> str:
    """Say why nobody begins it."""
    queue = await inspection.queue() if inspection else None
    if queue is None:
        return "this database has no queue, so whoever accepted it was to begin it, and is gone"
    if not queue.alive:
        last = "" if queue.last is None else f" (the last sign of life is {lasted(queue.last)} old)"
        return f"no worker is alive{last}. Start one: {PROGRAM} worker"
    if job is None:
        return f"{queue.alive} workers are alive, and it has no job; one of them gives it one soon"
    return f"its job is {job.status}, and {queue.waiting} wait for {queue.alive} workers"
