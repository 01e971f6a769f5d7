"""How one thread looks: what it does or waits for, who executes it, what has happened, and the command to type next."""

from dataclasses import dataclass
from typing import Any

from .diagnosis import clock_time, lasted
from .display import readable, show_rows, summary
from .errors import PROGRAM
from .persistence import Entry, Question, Run
from .runs import Runs, ThreadId, ThreadStatus
from .runs.holder import describe

AUDIT = 8  # lines, the last of them
SHOWN = 100  # characters of a line of the audit


@dataclass(frozen=True)
class Looked:
    """A thread: its status, its runs that are not over in their order, and its audit, newest first."""

    status: ThreadStatus
    line: list[Run]
    audit: list[Entry]


async def look_at(runs: Runs, thread: ThreadId) -> Looked:
    """Return all that there is to show. Raises UnknownThread."""
    status = await runs.status(thread)
    return Looked(status, await runs.ledger.line(thread), await runs.ledger.audit(thread, AUDIT))


def show_thread(looked: Looked, as_json: bool) -> None:
    """Print it."""
    facts = _facts(looked)
    shown = {key: value for key, value in facts.items() if value not in ("", [], 0, None)}
    rows = [row for key, value in shown.items() for row in _rows(key, value)]
    show_rows(["", ""], rows, [facts], as_json)


def next_command(status: ThreadStatus) -> str:
    """Return what to type for the thread to go on, or to find out why it does not."""
    thread = status.thread_id
    match status.condition:
        case "queued":
            return f"{PROGRAM} doctor --thread {thread}"
        case "running":
            return f"{PROGRAM} cancel {thread}"
        case "unfinished":
            return f"{PROGRAM} resume {thread}"
        case "failed" if status.next:
            return f"{PROGRAM} resume {thread}"
        case "waiting":
            which = f" --question {status.questions[0].question_id}" if len(status.questions) > 1 else ""
            return f'{PROGRAM} answer {thread} yes|no|"what to change"{which}'
        case _:
            return f'{PROGRAM} run "..." --thread-id {thread}'


def _facts(looked: Looked) -> dict[str, Any]:  # Any: what JSON can hold
    status, run = looked.status, looked.status.run
    facts = summary(status)
    facts.pop("waits_for")
    questions = [_question(question) for question in status.questions]
    if not questions:
        questions = [{"what": interrupt.value, "question": interrupt.id} for interrupt in status.interrupts]
    return {
        **facts,
        **(_of_run(run) if run else {}),
        "waits_for": questions,
        "behind": [f"{one.run_id} {one.status} since {clock_time(one.changed_at)}" for one in looked.line[1:]],
        "audit": [_entry(entry) for entry in reversed(looked.audit)],
        "command": next_command(status),
    }


def _of_run(run: Run) -> dict[str, Any]:  # Any: as above
    held = run.status == "running"
    return {
        "since": clock_time(run.changed_at),
        "accepted": clock_time(run.accepted_at),
        "executed_by": describe(run.holder) if run.holder else "",
        "sign_of_life": f"{lasted(run.silent)} ago" if held else "",
        "attempts": run.attempt,
        "crashes": run.crashes,
        "retries": run.retries,
        "graph_version": run.graph_version,
        "release": run.release,
    }


def _question(question: Question) -> dict[str, Any]:  # Any: as above
    return {
        "question": question.question_id,
        "by": question.node,
        "asked": clock_time(question.asked_at),
        "until": clock_time(question.until) if question.until else "",
        "what": question.payload,
    }


def _entry(entry: Entry) -> dict[str, str]:
    return {
        "at": clock_time(entry.at),
        "kind": entry.kind,
        "actor": entry.actor,
        "question": entry.question_id,
        "detail": entry.detail,
    }


def _rows(key: str, value: object) -> list[list[str]]:
    """Return a fact as rows of a table, one for each of its parts."""
    if not isinstance(value, list):
        return [[key, str(value)]]
    return [[key if not number else "", _part(key, part)] for number, part in enumerate(value)]


def _part(key: str, part: object) -> str:
    if not isinstance(part, dict):
        return str(part)
    if key == "waits_for":
        return readable({name: item for name, item in part.items() if item})
    text = "  ".join(item for item in part.values() if item)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
