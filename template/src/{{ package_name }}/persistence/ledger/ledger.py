"""The ledger: a row for each run that was accepted, which says what it is doing and who may write for it.

It is at once the record by which nothing accepted is lost, the exclusion (the database allows one running run a
thread), the fence (`attempt`; see `persistence.fence`), the switch that cancels, and the inbox from which inputs and
answers are handed to the graph once. Runs of a thread go one after the other, in the order in which they were accepted.
"""

from collections.abc import Sequence

from ..errors import LeaseLost
from ..exact_text import scrub
from . import statements as sql
from .asking import Asking
from .moving import SYSTEM, close_questions, note
from .reading import run_of
from .records import Asked, Mode, Run, Status
from .store import Conflict, Parameters, Transaction


class Ledger(Asking):
    """The rules, over a store. `also` is called in each transaction that makes a run ready to be executed."""

    # Accepting.

    async def begin(self, run: str, thread: str, payload: object, *, holder: str, **made_by: str) -> Run | None:
        """Accept a run and claim it at once; None if another one of its thread is not over, and nothing is accepted.

        `payload` is the graph's input, or None to go on from where the thread stands. `made_by` are `graph_version` and
        `release`.
        """
        accepted = self._accepted(run, thread, payload, made_by)
        rows = await self.store.rows(sql.BEGIN, {**accepted, "holder": holder})
        if rows:  # the database need not send the input back
            return run_of({**rows[0], "input_type": accepted["input_type"], "input": accepted["input"]})
        mine = await self.find(run)  # the answer to a first attempt may have been lost
        return mine if mine and mine.holder == holder else None

    async def accept(
        self, run: str, thread: str, payload: object, *, mode: Mode, **made_by: str
    ) -> tuple[Run | None, list[Run]]:
        """Accept a run and leave it to whoever claims it; return it, and those of its thread that go before it.

        With the mode `reject` it is None unless there are no others. With `interrupt` the one that is running is asked
        to stop at its next superstep.
        """
        parameters = self._accepted(run, thread, payload, made_by)

        async def act(transaction: Transaction) -> tuple[Run | None, list[Run]]:
            await transaction.lock_thread(thread)
            line = [run_of(row) for row in await transaction.rows(sql.LINE, {"thread": thread})]
            if any(found.run_id == run for found in line):  # the answer to a first attempt was lost
                return next(found for found in line if found.run_id == run), [
                    found for found in line if found.run_id != run
                ]
            if line and mode == "reject":
                return None, line
            # Only now is it certain who goes before: one that ends meanwhile waits for this row, or drops out here.
            ahead = {
                row["run_id"]
                for row in await transaction.rows(sql.FOLLOW, {"thread": thread, "run": run, "mode": mode})
            }
            mine = run_of((await transaction.rows(sql.ACCEPT, parameters))[0])
            if not ahead:
                await self._ready(transaction, mine)
            await transaction.announce()
            return mine, [found for found in line if found.run_id in ahead]

        return await self.store.transaction(act)

    # Executing.

    async def claim(self, run: str, holder: str) -> Run | None:
        """Claim a queued run; None if it is not queued, or another run of its thread goes before it."""
        try:
            rows = await self.store.rows(sql.CLAIM, {"run": run, "new_holder": holder})
        except Conflict:  # one that was begun in the same instant; it is to make this one ready when it ends
            found = await self.find(run)
            if found and await self.store.rows(sql.FOLLOW, {"thread": found.thread_id, "run": run, "mode": "enqueue"}):
                return None
            return await self.claim(run, holder)
        if rows:
            return run_of(rows[0])
        found = await self.find(run)
        return found if found and found.status == "running" and found.holder == holder else None

    async def take_over(self, seen: Run, holder: str, *, crash_limit: int) -> Run | None:
        """Claim a run whose process is gone; None if it has moved since it was `seen`.

        The run is parked as failed, and returned, if its process died `crash_limit` times and it never got on.
        """
        return await self._crashed(seen, holder, crash_limit)

    async def requeue(self, seen: Run, *, crash_limit: int) -> Run | None:
        """Put a run whose process is gone back into the queue, for whoever is free; otherwise as `take_over`."""
        return await self._crashed(seen, "", crash_limit)

    async def beat(self, runs: Sequence[Run]) -> list[Run]:
        """Give a sign of life for runs that are executed here, and return what `look` does."""
        await self.store.rows(sql.BEAT, {"runs": [run.run_id for run in runs]})
        return await self.look(runs)

    async def settle(
        self, run: Run, status: Status, *, error: str = "", questions: Sequence[Asked] = (), retry: bool = False
    ) -> Run:
        """Note how an attempt ended; with `questions` it waits, for an answer to any of them.

        It goes back into the queue instead when an answer to one has come already. Raises LeaseLost if the run is not
        this attempt's any more.
        """
        error = scrub(error).replace("\0", "?")  # what a text cannot hold must not keep a run from its end
        if not questions and not retry and status not in {"queued", "cancelled"}:
            ended = {"run": run.run_id, "lease": run.attempt, "becomes": status, "why": error}
            rows = await self.store.rows(sql.SETTLE_ALONE, ended)
            if rows:
                return run_of(rows[0])

        async def act(transaction: Transaction) -> Run:
            now = await self._locked(transaction, run.run_id)
            if now and (now.status, now.attempt, now.error) == (status, run.attempt, error):
                return now  # a first attempt's answer was lost
            if not now or (now.status, now.attempt) != ("running", run.attempt):
                raise LeaseLost(run.run_id, run.attempt)
            becomes = await self._asked(transaction, now, questions) if questions else status
            if becomes == "cancelled":  # by a newer run of the thread
                await note(transaction, becomes, now, error)
            if becomes not in {"waiting", "queued"}:
                await close_questions(transaction, now, "withdrawn")
            moved = {
                "run": run.run_id,
                "attempt": run.attempt,
                "status": becomes,
                "error": error,
                "retries": now.retries + retry,
                "crashes": now.crashes if retry else 0,
                "asked": int(bool(questions) or becomes == "queued"),
            }
            settled = run_of((await transaction.rows(sql.SETTLE, moved))[0])
            await self.free(transaction, settled)
            return settled

        return await self.store.transaction(act)

    # What others may do to a run.

    async def cancel(self, run: str, *, actor: str, reason: str = "") -> Run | None:
        """Cancel a run that is not over: whoever executes it can write no more. None if there is no such run."""
        return await self._moved_by(run, "cancelled", actor, reason or f"cancelled by {actor}", kind="cancelled")

    async def try_again(self, run: str, *, actor: str) -> Run | None:
        """Put a failed run back into the queue, with a fresh number of crashes and retries."""
        return await self._moved_by(run, "queued", actor, "", kind="tried again")

    async def fail(self, run: str, error: str, *, actor: str = SYSTEM) -> Run | None:
        """Give a run up that is not over."""
        return await self._moved_by(run, "failed", actor, error, kind="failed")

    async def note(
        self, kind: str, run: Run | None, text: str, *, actor: str = SYSTEM, question: str = "", thread: str = ""
    ) -> None:
        """Write a line into the audit; without a run and a thread it is about all threads, and `audit("")` has it."""
        await self.store.transaction(
            lambda transaction: note(transaction, kind, run, text, question=question, actor=actor, thread=thread)
        )

    async def forget(self, thread: str) -> None:
        """Delete a thread's runs that are over, and their questions. The audit stays."""

        async def act(transaction: Transaction) -> None:
            await transaction.rows(sql.FORGET_RUNS, {"thread": thread})
            await transaction.rows(sql.FORGET_QUESTIONS, {"thread": thread})

        await self.store.transaction(act)

    # Inside a transaction.

    async def _crashed(self, seen: Run, holder: str, crash_limit: int) -> Run | None:
        async def act(transaction: Transaction) -> Run | None:
            now = await self._locked(transaction, seen.run_id)
            if now and holder and (now.status, now.holder) == ("running", holder):  # a first attempt's answer was lost
                return now
            if not now or (now.status, now.attempt) != ("running", seen.attempt):
                return None
            head = (await transaction.rows(sql.HEAD, {"thread": now.thread_id}))[0]["head"] or ""
            crashes = now.crashes + 1 if now.crashes and head == now.stalled_at else 1
            await note(transaction, "crashed", now, f"attempt {now.attempt} by {now.holder}, at checkpoint {head}")
            if crashes >= crash_limit:
                why = f"its process died {crashes} times in a row, the last time in attempt {now.attempt}"
                return await self._moved(transaction, now, "failed", why, kind="parked")
            place = {"run": now.run_id, "attempt": now.attempt, "crashes": crashes, "head": head}
            if holder:
                return run_of((await transaction.rows(sql.TAKE_OVER, {**place, "holder": holder}))[0])
            queued = run_of((await transaction.rows(sql.REQUEUE, place))[0])
            await self.free(transaction, queued)
            return queued

        return await self.store.transaction(act)

    def _accepted(self, run: str, thread: str, payload: object, made_by: dict[str, str]) -> Parameters:
        kind, packed = None, None
        if payload is not None:
            kind, packed = self.store.pack(thread, ("agent_runs", run), payload)
        versions = {"graph_version": "", "release": "", **made_by}
        return {"run": run, "thread": thread, "input_type": kind, "input": packed, **versions}
