"""The people: they ask, answer what they are asked, sometimes twice, and wait."""

import asyncio
import random
from collections import Counter

from acme_agent.persistence import DatabaseUnreachable
from acme_agent.runs import Runs, WrongRequest

from .cases import Case


class Client:
    """Submits the cases and answers the questions."""

    def __init__(self, runs: Runs, cases: list[Case], dice: random.Random) -> None:
        """Prepare; nothing is asked yet."""
        self._runs = runs
        self._cases = {case.thread: case for case in cases}
        self._dice = dice
        self.accepted: list[str] = []  # run ids
        self.wrongly_taken: list[str] = []  # answers that were accepted twice
        self.refused: Counter[str] = Counter()

    async def submit(self, seconds: float) -> None:
        """Ask everything, over so long; on some threads twice, at the same moment, and on some without a worker."""
        async with asyncio.TaskGroup() as here:
            for case in self._cases.values():
                asking = [self._ask(case, queue=not case.here) for _ in range(case.turns)]
                if case.here:
                    for ask in asking:
                        here.create_task(ask)
                else:
                    await asyncio.gather(*asking)
                await asyncio.sleep(seconds / len(self._cases) * self._dice.uniform(0, 2))

    async def _ask(self, case: Case, *, queue: bool) -> None:
        while True:
            try:
                status = await self._runs.start(case.scenario.input, thread=case.thread, queue=queue)
                self.accepted.append(status.run_id)
            except WrongRequest as error:  # the thread waits for an answer by now: once more when it has it
                self.refused[str(error).replace(case.thread, "ID")] += 1
                await asyncio.sleep(0.2)  # as a person would
                continue
            except DatabaseUnreachable:  # it was accepted, or it was not: the thread's state will tell
                self.refused["database away"] += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, it is shown in the end
                if queue or not case.fails:
                    self.refused[f"{case.thread}: {type(error).__name__}: {error}"] += 1
            return

    async def answer_all(self) -> None:
        """Answer open questions until this is cancelled; some of them twice, and some much later."""
        while True:
            try:
                await self._answer_all()
            except DatabaseUnreachable:  # what was not answered is still asked
                self.refused["database away"] += 1
            await asyncio.sleep(0.2)

    async def _answer_all(self) -> None:
        for question in await self._runs.waiting(limit=200):
            case = self._cases[question.thread_id]
            told = [q for q in await self._runs.ledger.questions(question.run_id) if q.state != "open"]
            answer = case.scenario.answers[len(told)]
            if self._dice.random() < 0.2:
                continue  # later
            for _ in range(self._dice.choice([1, 1, 2])):
                before = await self._runs.ledger.answer(question, answer, actor="chaos")
                self.refused[before] += 1

    async def all_over(self) -> None:
        """Return when no run that was accepted is left to be done."""
        while True:
            counts = await self._runs.ledger.counts()
            if not any(counts.get(status, 0) for status in ("queued", "running", "waiting")):
                return
            await asyncio.sleep(0.5)

    async def ask_wrongly(self) -> None:
        """Do what must be refused, until this is cancelled."""
        while True:
            thread = self._dice.choice(list(self._cases))
            try:
                await self._runs.answer(thread, "yes", question="0" * 32, queue=True)
                self.wrongly_taken.append(thread)
            except WrongRequest:
                self.refused["not asked"] += 1
            except Exception as error:  # noqa: BLE001 - the database may be away for longer than the patience
                self.refused[type(error).__name__] += 1
            await asyncio.sleep(0.3)
