"""A worker: one process, one event loop, which executes runs, looks after them, and hands them over when it ends."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from ..agent import AgentSettings
from ..cancelling import end
from ..runs import Runs, open_runs
from .connector import PatientConnector
from .errors import WorkerEnded
from .queue import QUEUE, check_queue
from .tasks import DEAD, MAINTENANCE, build_app

GRACE = 25.0  # seconds that runs have to come to the end of their superstep; less than what an orchestrator allows
MAINTENANCE_GRACE = 2.0  # seconds; what is cut off is done again by another worker
RECOVER = 3.0  # seconds between two looks for runs whose process has died
POLL = 1.0  # seconds between two looks for jobs, for which a notice was lost, or which were for later
NEVER = 86_400.0  # seconds; nothing is ever aborted through procrastinate
ALIVE = "worker.alive"  # a file in DATA_DIR, whose age tells an orchestrator's probe whether the event loop turns
TOUCH = 5.0  # seconds between two touches of it


async def work(settings: AgentSettings, concurrency: int, ready: Callable[[], None]) -> None:
    """Execute up to `concurrency` runs at once, until SIGTERM or SIGINT; `ready` is called when it begins.

    Then its runs stop at their next superstep and go back into the queue, for another worker; those that do not within
    GRACE seconds are cut off, and do the superstep again. Raises QueueNeedsPostgres, BadSchedule, what `open_runs`
    raises, and WorkerEnded when a part of it ends by itself: then its supervisor is to start it again.
    """
    check_queue(settings)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_runs(settings) as runs:
        tasks = [asyncio.create_task(part, name=name) for name, part in _parts(runs, concurrency).items()]
        waiting = asyncio.create_task(stop.wait(), name="signal")
        ready()
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        runs.keeper.drain("shutdown")
        await end(waiting, *tasks, again=GRACE + 1)  # not before: a queue takes a second word for "at once"
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for task, result in zip(tasks, ended, strict=True):
        if task in done:
            why = f"{type(result).__name__}: {result}" if isinstance(result, Exception) else "without an error"
            raise WorkerEnded(task.get_name(), why) from (result if isinstance(result, Exception) else None)


def _parts(runs: Runs, concurrency: int) -> dict[str, Coroutine[Any, Any, None]]:  # Any: as Coroutine has them
    app = build_app(runs, PatientConnector(runs))

    def worker(queue: str, concurrency: int, grace: float, *, listen: bool) -> Coroutine[Any, Any, None]:
        return app.run_worker_async(
            queues=[queue],
            name=queue,
            concurrency=concurrency,
            fetch_job_polling_interval=POLL,
            abort_job_polling_interval=NEVER,
            shutdown_graceful_timeout=grace,
            listen_notify=listen,
            delete_jobs="always",
            install_signal_handlers=False,
            stalled_worker_timeout=DEAD,
        )

    return {
        "queue": worker(QUEUE, concurrency, GRACE, listen=True),
        # Two at once: a purge may take an hour.
        "maintenance": worker(MAINTENANCE, 2, MAINTENANCE_GRACE, listen=False),
        "recovery": _recover(runs),
        "sign of life": _show_life(runs.settings.data_dir),
    }


async def _recover(runs: Runs) -> None:
    """Look after all runs, in each worker and not as a job: only a process of the same machine knows at once that
    another one is dead, and only this one which of its own claims it could not settle."""
    while True:
        await runs.recover()
        await asyncio.sleep(RECOVER)


async def _show_life(folder: Path) -> None:
    """Touch ALIVE. A worker listens on no port, and a probe of its own would have to import all that it imports.

    That the database is away does not stop it: a restart would mend nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - once, before any run
    while True:
        (folder / ALIVE).touch()
        await asyncio.sleep(TOUCH)
