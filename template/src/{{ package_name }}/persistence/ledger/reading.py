"""What the ledger says: runs, questions and the audit, as they are."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from . import statements as sql
from .records import Entry, Question, Run, Status
from .store import Row, Store


class Reading:
    """The queries. All raise DatabaseUnreachable."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def find(self, run: str) -> Run | None:
        """Return a run."""
        rows = await self.store.rows(sql.RUN, {"run": run})
        return run_of(rows[0]) if rows else None

    async def newest(self, thread: str, limit: int = 1) -> list[Run]:
        """Return a thread's runs, the last that was accepted first."""
        return [run_of(row) for row in await self.store.rows(sql.NEWEST, {"thread": thread, "limit": limit})]

    async def line(self, thread: str) -> list[Run]:
        """Return a thread's runs that are not over, in the order in which they go."""
        return [run_of(row) for row in await self.store.rows(sql.LINE, {"thread": thread})]

    async def lost(self, seconds: float, limit: int = 100) -> list[Run]:
        """Return runs whose holder has given no sign of life for so long."""
        return [run_of(row) for row in await self.store.rows(sql.LOST, {"seconds": seconds, "limit": limit})]

    async def stranded(self, seconds: float, limit: int = 100) -> list[Run]:
        """Return queued runs that nothing is in the way of, and that nobody has claimed for so long."""
        return [run_of(row) for row in await self.store.rows(sql.STRANDED, {"seconds": seconds, "limit": limit})]

    async def counts(self) -> dict[Status, int]:
        """Return how many runs have each status."""
        return {row["status"]: row["runs"] for row in await self.store.rows(sql.COUNTS, {})}

    async def questions(self, run: str) -> list[Question]:
        """Return the questions of a run, oldest first."""
        return [self._question(row) for row in await self.store.rows(sql.QUESTIONS_OF_RUN, {"run": run})]

    async def open_questions(self, limit: int) -> list[Question]:
        """Return the questions that wait for an answer, oldest first."""
        return [self._question(row) for row in await self.store.rows(sql.OPEN_QUESTIONS, {"limit": limit})]

    async def overdue(self, limit: int = 100) -> list[Question]:
        """Return open questions whose time is over."""
        return [self._question(row) for row in await self.store.rows(sql.OVERDUE, {"limit": limit})]

    async def audit(self, thread: str, limit: int = 100) -> list[Entry]:
        """Return the audit of a thread, newest first."""
        rows = await self.store.rows(sql.AUDIT, {"thread": thread, "limit": limit})
        return [Entry(**{**row, "at": moment(row["at"])}) for row in rows]

    async def payload(self, run: Run) -> Any:  # Any: the graph's input
        """Return the input of a run that has one, and is still there."""
        packed = run.packed
        if packed is None:
            row = next(iter(await self.store.rows(sql.INPUT, {"run": run.run_id})), None)
            if row is None or row["input_type"] is None:
                return None
            packed = row["input_type"], row["input"]
        return self.store.unpack(run.thread_id, ("agent_runs", run.run_id), *packed)

    async def look(self, runs: Sequence[Run]) -> list[Run]:
        """Return, as they are now, those of the runs that these attempts do not execute any more, or that are to stop.

        A run that is gone is not among them.
        """
        held = {"runs": [run.run_id for run in runs], "holders": [run.holder for run in runs]}
        return [run_of(row) for row in await self.store.rows(sql.WATCH, held)]

    def _question(self, row: Row) -> Question:
        place = ("agent_questions", row["run_id"], row["question_id"])
        thread, answer = row["thread_id"], None
        if row["answer_type"] is not None:
            answer = self.store.unpack(thread, place, row["answer_type"], row["answer"])
        schema = row["schema"]
        return Question(
            question_id=row["question_id"],
            run_id=row["run_id"],
            thread_id=thread,
            node=row["node"],
            payload=self.store.unpack(thread, place, row["payload_type"], row["payload"]),
            schema=json.loads(schema) if isinstance(schema, str) else schema,  # SQLite has no type for JSON
            asked_at=moment(row["asked_at"]),
            until=None if row["until"] is None else moment(row["until"]),
            state=row["state"],
            answer=answer,
            actor=row["actor"],
        )


def run_of(row: Row) -> Run:
    """Return a row of agent_runs as a run."""
    times = {name: moment(row[name]) for name in ("accepted_at", "changed_at")}
    kind, packed = row.pop("input_type", None), row.pop("input", None)
    flags = {"has_input": bool(row["has_input"]), "blank": bool(row.get("blank"))}
    more = {**flags, "packed": None if kind is None else (kind, packed)}
    return Run(**{**row, **times, **more})


def moment(value: str | datetime) -> datetime:
    """Return a time of the database; SQLite has no type for them."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value
