"""`resume --abandoned`: going on with every run that nobody executes any more, one thread after the other."""

import logging
from collections import Counter

import typer

from .agent import AgentSettings, check
from .display import Display, JsonLines, Lines
from .errors import PROGRAM, ProjectError
from .invocation import EXIT, STOPPED, fail, load_settings, with_runs
from .persistence import DatabaseUnreachable
from .persistence.urls import has_queue
from .rooms import optional
from .runs import Runs, ThreadId, ThreadStatus, UnknownThread, thread_id
from .settings import redact

logger = logging.getLogger(__name__)

LEFT = {"queued", "unfinished"}  # conditions in which a thread is gone on with


def resume_abandoned(*, as_json: bool) -> None:
    """Go on with all. What stops one of them does not stop the others; that the database is away stops all."""
    settings = load_settings()
    _check_queue(settings)
    check(settings)
    display: Display = JsonLines() if as_json else Lines()
    try:
        ended = with_runs(settings, lambda runs: go_on_with_all(runs, display))
    except KeyboardInterrupt:
        fail("stopped; the same command goes on", STOPPED)
    counted = ", ".join(f"{number} {condition}" for condition, number in sorted(ended.items()))
    typer.echo(f"threads gone on with: {counted or 'none, no run is abandoned'}", err=True)
    if ended.keys() & {*LEFT, "failed"}:  # one that is running was taken by somebody else meanwhile
        raise typer.Exit(EXIT["failed"])


async def go_on_with_all(runs: Runs, display: Display) -> Counter[str]:
    """Return how many threads were left in each condition."""
    ended = Counter[str]()
    for thread in dict.fromkeys(thread_id(run.thread_id) for run in await runs.abandoned()):
        display.begin(thread)
        try:
            status = await _go_on_with(runs, thread, display)
        except UnknownThread:  # deleted meanwhile
            continue
        display.end(status)
        ended[status.condition] += 1
    return ended


async def _go_on_with(runs: Runs, thread: ThreadId, display: Display) -> ThreadStatus:
    """Go on with the thread's run, and with those behind it, whose process may be the dead one."""
    status, seen = await runs.status(thread), set[str]()
    while status.condition in LEFT and status.run_id not in seen:
        seen.add(status.run_id)
        try:
            await runs.resume(thread, listener=display.event)
        except DatabaseUnreachable:
            raise
        except Exception as error:  # the run's own, which the ledger has, too; or somebody else has gone on
            logger.warning("thread %s: %s", thread, redact(f"{type(error).__name__}: {error}"))
            logger.debug("thread %s was cut off", thread, exc_info=True)
        status = await runs.status(thread)
    return status


def _check_queue(settings: AgentSettings) -> None:
    if optional("worker.queue") and has_queue(settings.checkpoint_url):
        raise ProjectError(f"workers go on with abandoned runs by themselves: start one with `{PROGRAM} worker`")
