"""Questions that a run waits with: how they come from the graph into the ledger, and what answers they take."""

from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from langgraph.types import Interrupt, StateSnapshot

from ..persistence import Asked, Question
from ..settings import Settings
from . import errors
from .status import ThreadStatus
from .threads import ThreadId


def asked(snapshot: StateSnapshot, settings: Settings) -> list[Asked]:
    """Return what the thread's tasks wait for. A task that has finished holds its old interrupt until the step ends."""
    return [
        Asked(
            question_id=interrupt.id,
            node=task.name,
            payload=interrupt.value,
            schema=_schema(interrupt),
            seconds=None if settings.approval_hours is None else settings.approval_hours * 3600,
        )
        for task in snapshot.tasks
        if task.result is None
        for interrupt in task.interrupts
    ]


def _schema(interrupt: Interrupt[Any]) -> dict[str, Any] | None:  # Any: what JSON can hold
    return interrupt.response_schema if isinstance(interrupt.response_schema, dict) else None


def chosen(thread: ThreadId, status: ThreadStatus, question: str | None) -> Question:
    """Return the open question with this id, or the one that has waited longest. Raises WrongRequest."""
    if question is None and status.questions:
        return status.questions[0]
    found = next((asked for asked in status.questions if asked.question_id == question), None)
    if found:
        return found
    if status.condition == "unfinished":
        raise errors.unfinished(thread)
    if status.expired:
        raise errors.expired(thread, status.expired)
    raise errors.nothing_asked(thread) if question is None else errors.not_asked(thread, question, status.questions)


def check_answer(question: Question, value: object) -> None:
    """Raise WrongRequest for an answer that the question's schema does not allow."""
    if question.schema is None:
        return
    problem = best_match(Draft202012Validator(question.schema).iter_errors(value))
    if problem:
        raise errors.unfit(question, problem.message)
