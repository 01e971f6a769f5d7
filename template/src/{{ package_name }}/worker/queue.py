"""The queue's entrance: a job for each run that is ready, in the transaction that makes it ready."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException

from ..persistence import Run, Transaction
from ..persistence.urls import has_queue
from ..settings import Settings
from .errors import QueueNeedsPostgres

QUEUE = "runs"
EXECUTE = "execute"  # the task that executes a run, by its id

FIRST_PAUSE = 1.0  # seconds before a run is tried again after an error; twice as long each time, up to
LONGEST_PAUSE = 300.0  # seconds; the last half of a pause is drawn at random, so that runs that failed together spread


async def enqueue(transaction: Transaction, run: Run) -> None:
    """Make a job for a run that is ready to be executed; one that failed, for later. It is committed with the run."""
    later = None
    if run.retries and run.error:
        later = run.changed_at + timedelta(seconds=pause(run.retries))  # by the database's clock, not by this machine's
    job = _entrance().configure_task(EXECUTE, queue=QUEUE, connection=transaction.connection, schedule_at=later)
    with bare_errors():
        await job.defer_async(run_id=run.run_id)


def pause(retries: int) -> float:
    """Return how many seconds a run waits before it is tried again for the `retries`th time."""
    return min(FIRST_PAUSE * 2.0 ** (retries - 1), LONGEST_PAUSE) * random.uniform(0.5, 1)  # noqa: S311 - no secret


def check_queue(settings: Settings) -> None:
    """Raise QueueNeedsPostgres where there is no queue."""
    if not has_queue(settings.checkpoint_url):
        raise QueueNeedsPostgres


@contextmanager
def bare_errors() -> Iterator[None]:
    """Raise psycopg's errors, which procrastinate wraps, as they are: by them the pool judges whether to try again."""
    try:
        yield
    except ConnectorException as error:
        if isinstance(error.__cause__, psycopg.Error):
            raise error.__cause__ from None
        raise


@cache
def _entrance() -> App:
    return App(connector=PsycopgConnector())  # never opened: each job brings its connection
