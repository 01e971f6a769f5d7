"""A thread's part of a ledger, taken out of one database and put into another: its runs, its questions, its audit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from ..errors import LeaseLost
from .ledger import Ledger
from .reading import moment
from .records import Run
from .store import Row, Store, Transaction

PAGE = 1000  # threads whose ids are read at once

THREADS = """
SELECT thread_id FROM agent_runs WHERE thread_id > %(after)s
UNION
SELECT thread_id FROM agent_audit WHERE thread_id > %(after)s
ORDER BY thread_id LIMIT %(limit)s
"""
RUNS = """
SELECT run_id, thread_id, status, attempt, crashes, retries, stalled_at, input_type, input, holder, asked, error,
    graph_version, release, accepted_at, changed_at
FROM agent_runs WHERE thread_id = %(thread)s ORDER BY position
"""
QUESTIONS = """
SELECT run_id, question_id, thread_id, node, payload_type, payload, schema, asked_at, until, state, reminded,
    answer_type, answer, actor, answered_at
FROM agent_questions WHERE thread_id = %(thread)s ORDER BY asked_at, question_id
"""
AUDIT = """
SELECT at, kind, thread_id, run_id, question_id, actor, detail
FROM agent_audit WHERE thread_id = %(thread)s ORDER BY entry
"""
PUT_RUN = """
INSERT INTO agent_runs (
    run_id, thread_id, status, attempt, crashes, retries, stalled_at, input_type, input, holder, asked, error,
    graph_version, release, accepted_at, changed_at, followed
)
VALUES (
    %(run_id)s, %(thread_id)s, %(status)s, %(attempt)s, %(crashes)s, %(retries)s, %(stalled_at)s, %(input_type)s,
    %(input)s, %(holder)s, %(asked)s, %(error)s, %(graph_version)s, %(release)s, %(accepted_at)s, %(changed_at)s, 1
)
"""
PUT_QUESTION = """
INSERT INTO agent_questions (
    run_id, question_id, thread_id, node, payload_type, payload, schema, asked_at, until, state, reminded,
    answer_type, answer, actor, answered_at
)
VALUES (
    %(run_id)s, %(question_id)s, %(thread_id)s, %(node)s, %(payload_type)s, %(payload)s, %(schema)s, %(asked_at)s,
    %(until)s, %(state)s, %(reminded)s, %(answer_type)s, %(answer)s, %(actor)s, %(answered_at)s
)
"""
PUT_AUDIT = """
INSERT INTO agent_audit (at, kind, thread_id, run_id, question_id, actor, detail)
VALUES (%(at)s, %(kind)s, %(thread_id)s, %(run_id)s, %(question_id)s, %(actor)s, %(detail)s)
"""
DROP_RESERVATION = """
DELETE FROM agent_runs WHERE run_id = %(run)s AND attempt = %(attempt)s AND status = 'running'
RETURNING run_id
"""

_TIMES = ("accepted_at", "changed_at", "asked_at", "until", "answered_at", "at")
_PACKED = {"input": ("agent_runs", "run_id"), "payload": ("agent_questions", "run_id", "question_id")}
_PACKED["answer"] = _PACKED["payload"]


@dataclass(frozen=True)
class Entries:
    """What a ledger has about a thread, with values unpacked and times as text."""

    runs: list[Row]
    questions: list[Row]
    audit: list[Row]


async def threads_in_ledger(ledger: Ledger, after: str) -> list[str]:
    """Return the ids of the next threads that have runs or an audit, in the order of ids; none after the last."""
    return [row["thread_id"] for row in await ledger.store.rows(THREADS, {"after": after, "limit": PAGE})]


async def take_entries(ledger: Ledger, thread: str) -> Entries:
    """Return a thread's entries. A run that is running is one whose process is gone: it is taken out as queued."""
    store = ledger.store

    async def act(transaction: Transaction) -> Entries:
        found = [await transaction.rows(statement, {"thread": thread}) for statement in (RUNS, QUESTIONS, AUDIT)]
        runs, questions, audit = ([_unpacked(store, row) for row in rows] for rows in found)
        return Entries([_requeued(row) for row in runs], questions, audit)

    return await store.transaction(act)


async def put_entries(ledger: Ledger, entries: Entries, reservation: Run) -> None:
    """Store a thread's entries in place of the run that reserves the thread, all at once. Raises LeaseLost or Conflict.

    The run that is next in line is made ready.
    """
    store = ledger.store
    held = {"run": reservation.run_id, "attempt": reservation.attempt}

    async def act(transaction: Transaction) -> None:
        if not await transaction.rows(DROP_RESERVATION, held):
            raise LeaseLost(reservation.run_id, reservation.attempt)
        for statement, rows in ((PUT_RUN, entries.runs), (PUT_QUESTION, entries.questions), (PUT_AUDIT, entries.audit)):
            for row in rows:
                await transaction.rows(statement, _packed(store, row))
        await ledger.free(transaction, reservation)

    await store.transaction(act)


async def drop_reservation(ledger: Ledger, reservation: Run) -> None:
    """Delete the run that reserves a thread, if it is still this one."""
    await ledger.store.rows(DROP_RESERVATION, {"run": reservation.run_id, "attempt": reservation.attempt})


def _requeued(row: Row) -> Row:
    return {**row, "status": "queued"} if row["status"] == "running" else row


def _unpacked(store: Store, row: Row) -> Row:
    """Return a row as every database can have it. What is sealed is sealed for its place, by its own key."""
    plain = {**row, **{name: _text(row[name]) for name in _TIMES if row.get(name) is not None}}
    for name, place in _PACKED.items():
        if row.get(name) is not None:
            where = (place[0], *(row[key] for key in place[1:]))
            plain[name] = (store.unpack(row["thread_id"], where, row[f"{name}_type"], bytes(row[name])),)
    if not isinstance(row.get("schema"), str | None):
        plain["schema"] = json.dumps(row["schema"])  # SQLite has no type for JSON
    return plain


def _packed(store: Store, row: Mapping[str, Any]) -> Row:  # Any: columns
    packed = dict(row)
    for name, place in _PACKED.items():
        if row.get(name) is not None:
            where = (place[0], *(row[key] for key in place[1:]))
            packed[f"{name}_type"], packed[name] = store.pack(row["thread_id"], where, row[name][0])
    return packed


def _text(time: Any) -> str:  # Any: text or datetime
    """Return a time as SQLite has it, which every database reads."""
    return moment(time).astimezone(UTC).isoformat(timespec="milliseconds")
