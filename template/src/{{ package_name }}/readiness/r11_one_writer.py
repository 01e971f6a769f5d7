"""R11 one writer: two processes that post to one thread at the same time lose nothing."""

import asyncio
import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..persistence import Run
from ..runs import Runs, ThreadId, open_runs
from ..scenario import Scenario
from .engine.check import Check, Exam, Place
from .playing import posting
from .playing.posting import PATIENCE, WRITERS, Posting, finish, mark, marks_of, post_all, post_one, thread

THREADS = 10
CONTROL = THREADS  # the thread on which they post one after the other

CHECK = Check(
    id="R11",
    title="one writer",
    holds="two processes that post to one thread in the same moment, on the production backend and on ten threads, lose"
    " nothing: the ledger has a run for each post, which ends as it does when one posts after the other, and each"
    " message is once in what the thread's newest state grew out of; or the post is refused with an error.",
    why="two browser tabs, a double click or a client's retry are two writers, and LangGraph lets the second one go on"
    " from a state that the first one is about to replace.",
    remedy="accept every input by `runs.start(...)`, never by calling the graph; to treat a busy thread in another way,"
    " set RUN_MODE to reject, enqueue or interrupt, and pass the error on to whoever posted.",
    fact="two overlapping posts on one thread lost a user's message on 20 of 20 threads of a plain LangGraph program,"
    " and no error was raised; of ten templates that were read none has a lock that another process sees.",
    not_covered="a state whose messages are not under `messages`, of which only the runs are counted; and what the two"
    " runs answer.",
)


WAY_IN = Place.of(Runs.start)


@dataclass(frozen=True)
class Left:
    """What a thread's posts have left behind."""

    runs: list[Run]
    marks: list[str]


def test_posts_at_once_lose_nothing(scenarios: list[Scenario], production_url: str, tmp_path: Path, exam: Exam) -> None:
    """Each of two processes posts the scenario that asks least, on every thread."""
    scenario = min(scenarios, key=lambda each: len(each.answers))
    given = Posting(scenario.name, tmp_path, production_url, os.environ.get("DATABASE_DIRECT_URL", ""), THREADS)
    expected = asyncio.run(_one_after_the_other(given, exam))
    if exam.findings:
        return
    told = _at_once(given)
    wrong = Counter[str]()
    for number, left in enumerate(asyncio.run(_left(given))):
        outcomes = [told[writer][number] for writer in range(WRITERS)]
        accepted = [writer for writer, outcome in enumerate(outcomes) if "accepted" in outcome]
        exam.look("accepted posts", len(accepted))
        wrong.update(_wrong(outcomes, [mark(number, writer) for writer in accepted], left, expected, given))
    for text, threads in wrong.items():
        exam.find(f"scenario {scenario.name}, posted twice at once: {text} (on {threads} of {THREADS} threads)", WAY_IN)


def _wrong(
    outcomes: list[dict[str, str]], marks: list[str], left: Left, expected: Left, given: Posting
) -> Iterator[str]:
    """Yield what is wrong on one thread. `marks` are those of the accepted posts."""
    yield from {f"{outcome['broke']}" for outcome in outcomes if "broke" in outcome}
    if not marks:
        yield f"both are refused: {outcomes[0].get('refused')}"
    if len(left.runs) < len(marks):
        yield f"{len(marks)} are accepted, and the ledger has {len(left.runs)} runs"
    legal = {run.status for run in expected.runs} | ({"cancelled"} if given.settings.run_mode == "interrupt" else set())
    yield from {f"a run is {run.status}: {run.error}" for run in left.runs if run.status not in legal}
    times = {expected.marks.count(mark(CONTROL, writer)) for writer in range(WRITERS)}
    if 0 not in times:  # else its state does not keep them
        found = {left.marks.count(each) for each in marks}
        if 0 in found:
            yield "an accepted message is lost: the thread's newest state did not grow out of it"
        if max(found, default=0) > max(times):
            yield "an accepted message is there more than once"


async def _one_after_the_other(given: Posting, exam: Exam) -> Left:
    async with open_runs(given.settings) as runs:
        for writer in range(WRITERS):
            outcome = await post_one(runs, given.payload(mark(CONTROL, writer)), thread(CONTROL))
            if "accepted" not in outcome:
                exam.find(f"scenario {given.scenario}, posted twice, one after the other: {outcome}", WAY_IN)
            await finish(runs, thread(CONTROL), given.answers)
        return await _left_on(runs, CONTROL)


def _at_once(given: Posting) -> list[list[dict[str, str]]]:
    """Return what each writer was told on each thread."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", posting.__name__])
    turn = context.Barrier(WRITERS)
    writers = [context.Process(target=post_all, args=(given, number, turn)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(PATIENCE)
        if writer.is_alive():
            writer.kill()
            writer.join()
    files = [given.folder / f"writer-{number}.json" for number in range(WRITERS)]
    missing = [file.stem for file in files if not file.exists()]
    if missing:
        pytest.fail(f"{', '.join(missing)} did not come to an end")
    return [json.loads(file.read_text("utf-8")) for file in files]


async def _left(given: Posting) -> list[Left]:
    async with open_runs(given.settings) as runs:
        for number in range(THREADS):
            await finish(runs, thread(number), given.answers)
        return [await _left_on(runs, number) for number in range(THREADS)]


async def _left_on(runs: Runs, number: int) -> Left:
    return Left(await runs.ledger.newest(ThreadId(thread(number)), WRITERS + 1), await marks_of(runs, thread(number)))
