"""What a process that looks after all runs does every few seconds: no accepted run is left lying.

running, and its process is dead or silent     back into the queue; given up after RUN_CRASH_LIMIT deaths without a
                                               step forward
queued, and nobody has begun it                reported, for the caller to see that somebody does
waiting, longer than APPROVAL_HOURS            reminded, escalated, or given up, as APPROVAL_EXPIRY says
"""

import logging
from dataclasses import dataclass

from ..persistence import Ledger, Question, Run
from ..settings import Settings
from .keeper import BEAT
from .status import is_abandoned

logger = logging.getLogger(__name__)

STRANDED = 10.0  # seconds in the queue after which somebody may have forgotten a run


@dataclass(frozen=True)
class Recovered:
    """What was found, as it is now."""

    requeued: tuple[Run, ...] = ()
    given_up: tuple[Run, ...] = ()
    stranded: tuple[Run, ...] = ()
    overdue: tuple[Question, ...] = ()


async def recover(ledger: Ledger, settings: Settings) -> Recovered:
    """Look once. Any number of processes may do so at the same time: each run is moved by one of them."""
    requeued, given_up = [], []
    for run in await ledger.lost(BEAT + 1):
        if not is_abandoned(run):
            continue
        moved = await ledger.requeue(run, crash_limit=settings.run_crash_limit)
        if moved and moved.status == "queued":
            logger.warning("run %s goes back into the queue: %s has died", run.run_id, run.holder)
            requeued.append(moved)
        elif moved:
            logger.error("run %s of thread %s is given up: %s", run.run_id, run.thread_id, moved.error)
            given_up.append(moved)
    overdue = await look_after_questions(ledger, settings)
    return Recovered(tuple(requeued), tuple(given_up), tuple(await ledger.stranded(STRANDED)), overdue)


async def look_after_questions(ledger: Ledger, settings: Settings) -> tuple[Question, ...]:
    """Do what the policy says about questions that are open for too long, and return those."""
    return tuple([question for question in await ledger.overdue() if await _handled(ledger, question, settings)])


async def _handled(ledger: Ledger, question: Question, settings: Settings) -> bool:
    """Do what the policy says about a question that is open for too long; False if somebody else has."""
    said = f"question {question.question_id} of thread {question.thread_id}, open since {question.asked_at}"
    match settings.approval_expiry:
        case "reject":
            why = f"nobody answered {question.node} within {settings.approval_hours:g} hours (APPROVAL_HOURS)"
            if not await ledger.expire(question.run_id, why):
                return False
            logger.warning("%s: expired", said)
        case "escalate":
            if not await ledger.overdue_noted(question, "escalated"):
                return False
            logger.error("%s: nobody answers", said)
        case "remind":
            if not await ledger.overdue_noted(question, "reminded"):
                return False
            logger.warning("%s: is still open", said)
    return True
