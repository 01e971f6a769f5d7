"""Questions in the ledger: asked by runs, answered once, by people, or closed."""

import json
from collections.abc import Sequence

from . import statements as sql
from .moving import Moving, close_questions, note
from .reading import run_of
from .records import Asked, Question, QuestionState, Run, Status
from .store import Transaction

SEALED = "(sealed: see the question)"
LONGEST_DETAIL = 2000  # characters of a text that the audit keeps


class Asking(Moving):
    """What concerns questions."""

    async def answer(self, question: Question, value: object, *, actor: str) -> QuestionState:
        """Store an answer if the question is open, and return what the question was before.

        The run goes into the queue with the same transaction.
        """
        place = ("agent_questions", question.run_id, question.question_id)
        kind, packed = self.store.pack(question.thread_id, place, value)
        parameters = {
            "run": question.run_id,
            "question": question.question_id,
            "answer_type": kind,
            "answer": packed,
            "actor": actor,
        }

        async def act(transaction: Transaction) -> QuestionState:
            run = await self._locked(transaction, question.run_id)
            known = {found.question_id: found for found in await self._questions(transaction, question.run_id)}
            state = known[question.question_id].state if question.question_id in known else "withdrawn"
            if run is None or state != "open":
                return state
            await transaction.rows(sql.ANSWER, parameters)
            await note(transaction, "answered", run, self._detail(value), question=question.question_id, actor=actor)
            if run.status == "waiting":
                await self._ready(transaction, run_of((await transaction.rows(sql.REQUEUE_ANSWERED, parameters))[0]))
                await transaction.announce()
            return "open"

        return await self.store.transaction(act)

    async def expire(self, run: str, why: str) -> Run | None:
        """Give up a run that waits, because nobody answers; None if it does not wait any more."""

        async def act(transaction: Transaction) -> Run | None:
            now = await self._locked(transaction, run)
            if now is None or now.status != "waiting":
                return None
            await close_questions(transaction, now, "expired")
            return await self._moved(transaction, now, "failed", why, kind="expired")

        return await self.store.transaction(act)

    async def overdue_noted(self, question: Question, kind: str) -> bool:
        """Write down that a question is overdue, once; False if somebody has, or if it is not open any more."""

        async def act(transaction: Transaction) -> bool:
            run = await self._locked(transaction, question.run_id)
            place = {"run": question.run_id, "question": question.question_id}
            if run is None or not await transaction.rows(sql.REMINDED, place):
                return False
            await note(transaction, kind, run, f"open since {question.asked_at}", question=question.question_id)
            return True

        return await self.store.transaction(act)

    async def _asked(self, transaction: Transaction, run: Run, questions: Sequence[Asked]) -> Status:
        """Store what is newly asked, close what is not asked any more, and return the run's status."""
        known = {found.question_id: found for found in await self._questions(transaction, run.run_id)}
        asked = [question.question_id for question in questions]
        await close_questions(transaction, run, "withdrawn", keep=asked)
        for question in questions:
            if question.question_id not in known or known[question.question_id].state in {"withdrawn", "expired"}:
                place = ("agent_questions", run.run_id, question.question_id)
                kind, packed = self.store.pack(run.thread_id, place, question.payload)
                parameters = {
                    "run": run.run_id,
                    "question": question.question_id,
                    "thread": run.thread_id,
                    "node": question.node,
                    "payload_type": kind,
                    "payload": packed,
                    "seconds": question.seconds,
                    "schema": None if question.schema is None else json.dumps(question.schema),
                }
                await transaction.rows(sql.ASK, parameters)
                await note(
                    transaction,
                    "asked",
                    run,
                    self._detail(question.payload),
                    question=question.question_id,
                    actor=question.node,
                )
        answered = any(known[id_].state == "answered" for id_ in asked if id_ in known)
        return "queued" if answered else "waiting"

    async def _questions(self, transaction: Transaction, run: str) -> list[Question]:
        return [self._question(row) for row in await transaction.rows(sql.QUESTIONS_OF_RUN, {"run": run})]

    def _detail(self, value: object) -> str:
        """Return a value as the audit keeps it; nothing where values are sealed, which the audit is not."""
        if self.store.sealed:
            return SEALED
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        return text.encode("utf-8", "replace").decode().replace("\0", "?")[:LONGEST_DETAIL]
