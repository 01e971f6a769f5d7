"""What all moves of a run have in common, inside a transaction: the lock, the rule, the audit, and who goes next."""

from collections.abc import Awaitable, Callable, Sequence

from ..errors import ForbiddenMove
from . import statements as sql
from .reading import Reading, run_of
from .records import MOVES, QuestionState, Run, Status
from .store import Store, Transaction

SYSTEM = "system"  # the actor of what no person does

Also = Callable[[Transaction, Run], Awaitable[None]]
"""What is committed together with a run's move, such as the job that executes it."""


class Moving(Reading):
    """Moves runs; `also` is called in each transaction that makes one ready to be executed."""

    def __init__(self, store: Store, also: Also | None = None) -> None:
        super().__init__(store)
        self._also = also

    async def _locked(self, transaction: Transaction, run: str) -> Run | None:
        rows = await transaction.rows(sql.LOCKED_RUN, {"run": run})
        return run_of(rows[0]) if rows else None

    async def _moved_by(self, run: str, status: Status, actor: str, text: str, *, kind: str) -> Run | None:
        async def act(transaction: Transaction) -> Run | None:
            now = await self._locked(transaction, run)
            if now is None or now.status == status:
                return now
            return await self._moved(transaction, now, status, text, kind=kind, actor=actor)

        return await self.store.transaction(act)

    async def _moved(
        self, transaction: Transaction, run: Run, status: Status, text: str, *, kind: str, actor: str = SYSTEM
    ) -> Run:
        if status not in MOVES[run.status]:
            raise ForbiddenMove(run.run_id, run.status, status)
        parameters = {"run": run.run_id, "status": status, "was": run.status, "attempt": run.attempt, "error": text}
        moved = run_of((await transaction.rows(sql.MOVE, parameters))[0])
        await note(transaction, kind, moved, text, actor=actor)
        if not moved.active:
            await close_questions(transaction, moved, "withdrawn")
        await self.free(transaction, moved)
        return moved

    async def free(self, transaction: Transaction, run: Run) -> None:
        """Make the run that goes next ready: this one, if it is in the queue again, or the one behind it."""
        for row in await transaction.rows(sql.NEXT_IN_LINE, {"thread": run.thread_id}):
            await self._ready(transaction, run_of(row))
        await transaction.announce()

    async def _ready(self, transaction: Transaction, run: Run) -> None:
        if self._also:
            await self._also(transaction, run)


async def note(
    transaction: Transaction,
    kind: str,
    run: Run | None,
    text: str,
    *,
    question: str = "",
    actor: str = SYSTEM,
    thread: str = "",
) -> None:
    about = {"thread": run.thread_id, "run": run.run_id} if run else {"thread": thread, "run": ""}
    parameters = {"kind": kind, **about, "question": question, "actor": actor}
    await transaction.rows(sql.NOTE, {**parameters, "detail": text})


async def close_questions(
    transaction: Transaction, run: Run, state: QuestionState, *, keep: Sequence[str] = ()
) -> None:
    """Close the questions of a run that are not over; `keep` are those that it still asks."""
    parameters = {"run": run.run_id, "state": state, "questions": list(keep)}
    for row in await transaction.rows(sql.CLOSE_QUESTIONS, parameters):
        await note(transaction, state, run, "", question=row["question_id"])
