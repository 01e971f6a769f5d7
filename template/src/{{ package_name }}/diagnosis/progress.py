"""Why a thread does not go on: one cause, for the first of its runs that is not over."""

from collections.abc import Iterator, Sequence

from ..errors import PROGRAM
from ..persistence import Run
from ..persistence.inspection import Inspection
from ..runs import Runs, ThreadStatus
from ..runs.holder import describe, is_dead
from ..runs.keeper import LEASE
from .finding import Finding, because, clock_time, lasted, since, wrong
from .queued import queued

AHEAD = 5.0  # seconds in the database's future that no run's times can be
NAMED = 3


async def cause(runs: Runs, inspection: Inspection | None, status: ThreadStatus, ahead: float) -> Finding:
    """Name the cause. `ahead` is the database's clock against this machine's."""
    run = status.run
    if run is None:
        return _of_checkpoints(status)
    lasts = since(run.changed_at, ahead)
    if min(lasts, run.silent) < -AHEAD:
        return wrong(
            f"clock: run {run.run_id} has times that are {lasted(-min(lasts, run.silent))} in the database's future. "
            "Its clock was set back, or the server was replaced by one that is behind; until then nobody counts as "
            f"silent. Set the clock by NTP, or end the run: {PROGRAM} cancel {run.thread_id}"
        )
    if status.condition == "queued":
        return await queued(runs.settings, inspection, run, lasts)
    return _of_run(status, run, lasts, ahead)


def _of_run(status: ThreadStatus, run: Run, lasts: float, ahead: float) -> Finding:
    match status.condition:
        case "waiting":
            return _waiting(status, lasts, ahead)
        case "running":
            return _running(status, run, lasts)
        case "unfinished":
            return _abandoned(run)
        case "failed":
            again = f"{PROGRAM} resume" if status.next else f'{PROGRAM} run "..." --thread-id'
            why = run.error or "no reason given"
            return wrong(f"failed {lasted(lasts)} ago: {why}. Type: {again} {run.thread_id}")
        case "cancelled":
            return because("warning", f"cancelled {lasted(lasts)} ago: {run.error}")
        case _:
            return because("ok", f"nothing is left to do: its last run is done, since {lasted(lasts)}")


def line_behind(line: Sequence[Run], ahead: float) -> Iterator[Finding]:
    """Say which runs cannot begin before the first one is over."""
    behind = line[1:]
    if behind:
        named = ", ".join(f"{run.run_id} (for {lasted(since(run.accepted_at, ahead))})" for run in behind[:NAMED])
        more = ", ..." if len(behind) > NAMED else ""
        yield Finding(
            "queued behind", "warning", f"{len(behind)} runs wait for run {line[0].run_id} to be over: {named}{more}"
        )


def _of_checkpoints(status: ThreadStatus) -> Finding:
    """Return the cause for a thread that the ledger does not know: it was imported, or restored from an archive."""
    match status.condition:
        case "waiting":
            text = f"waits for an answer since {status.updated}"
            return because("warning", f"{text}. Type: {PROGRAM} resume {status.thread_id}")
        case "unfinished":
            return wrong(f"unfinished, and no run is accepted for it: {PROGRAM} resume {status.thread_id}")
        case _:
            return because("ok", f"nothing is left to do: it is {status.condition}")


def _waiting(status: ThreadStatus, lasts: float, ahead: float) -> Finding:
    if not status.questions:
        return wrong(f"waits, and no question is open any more. Type: {PROGRAM} cancel {status.thread_id}")
    asked = []
    for question in status.questions:
        until = "for ever"
        if question.until:
            until = f"until {clock_time(question.until)}"
            if since(question.until, ahead) > 0:
                until += " (its time is over; the next purge, or a worker, does what APPROVAL_EXPIRY says)"
        asked.append(f"question {question.question_id} of node {question.node}, open {until}")
    return because(
        "warning",
        f"waits for an answer since {lasted(lasts)}: {'; '.join(asked)}. Type: {PROGRAM} answer {status.thread_id} ...",
    )


def _running(status: ThreadStatus, run: Run, lasts: float) -> Finding:
    nodes = ", ".join(status.next) or "the end of a step"
    again = f" It is tried again after an error (retry {run.retries}): {run.error}." if run.retries else ""
    return because(
        "ok",
        f"at work: {describe(run.holder)} executes it since {lasted(lasts)}, and gave its last sign of life "
        f"{lasted(run.silent)} ago. It is at {nodes}, the last checkpoint is of {status.updated}.{again} A node that "
        f"hangs is ended with: {PROGRAM} cancel {run.thread_id}",
    )


def _abandoned(run: Run) -> Finding:
    state = "has died" if is_dead(run.holder) else f"is silent for {lasted(run.silent)}: dead, frozen, or cut off"
    crashes = f" Processes died with it {run.crashes} times before (RUN_CRASH_LIMIT)." if run.crashes else ""
    return wrong(
        f"its holder is gone: {describe(run.holder)} {state}, in attempt {run.attempt}, and nobody has gone on with "
        f"it.{crashes} Type: {PROGRAM} resume {run.thread_id}; where there is a queue, a worker does so within "
        f"{lasted(LEASE + 5)}"
    )
