"""R08 crash and resume: a run that is killed at any instant ends as if it had not been.

For every scenario of the agent, on every backend of the project: run it once undisturbed; then run it again and kill
it at every point that it passes, each time going on with a new process. It must end in the undisturbed run's state,
without working again on a node that was over, and with the same effects on the world.
"""

import multiprocessing
import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from .. import persistence
from ..persistence.urls import backends
from ..scenario import Scenario
from .engine.check import Check, Exam
from .playing import crash_run
from .playing.crash_points import Journal, repeated
from .playing.crash_run import Case, run_case

PATIENCE = 60.0  # seconds that one process may take
DEATHS = 3  # times the points of the undisturbed run; a run that passes more does not come to an end

CHECK = Check(
    id="R08",
    title="crash and resume",
    holds="every scenario, killed with SIGKILL inside and after each superstep on the production backend, ends in the"
    " state of the undisturbed run, with the same effects on the world and no finished node run twice.",
    why="processes die: deployments, out-of-memory, lost machines. What was finished must not be done again, and what"
    " was accepted must not be lost.",
    remedy="pass `idempotency_key(...)` along with every effect (it has other effects); take time, chance and counters"
    " from the state or the input (it ends in another state); keep `DURABILITY` in `runs/execution.py` at `sync` (it"
    " ran again).",
    fact="with SIGKILL inside the second node, right after an instant first one, LangGraph's default durability had"
    " stored nothing that could be resumed; `sync` went on and did each effect once. Of seventeen templates none sets"
    " it, and none kills a process in its CI.",
    not_covered="the database losing what it confirmed, two processes on one thread (R11), and sub-graphs compiled with"
    " `checkpointer=False`, which begin again as a whole.",
)


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Forks a warm process that has imported the agent: a fresh one would take a second each time.

    Of the modules that an answer brings it passes over those that this project does not have.
    """
    context = multiprocessing.get_context("forkserver")
    package = persistence.__name__.rpartition(".")[0]
    openers = [f"persistence.{backend.OPENER}" for backend in backends()]
    optional = [f"{package}.{name}" for name in (*openers, "worker.queue")]
    context.set_forkserver_preload(["__main__", crash_run.__name__, *optional])
    return context


def test_killed_run_resumes(
    scenario: Scenario, production_url: str, tmp_path: Path, processes: ForkServerContext, exam: Exam
) -> None:
    """The scenario survives SIGKILL at every point."""
    name = scenario.name

    def run(case: Case, *, kill: bool) -> int | None:
        process = processes.Process(target=run_case, args=(case,), kwargs={"kill": kill})
        process.start()
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
            pytest.fail(f"{name} was still running after {PATIENCE:.0f} s")
        return process.exitcode

    undisturbed, killed = (Case(name, production_url, tmp_path / label) for label in ("undisturbed", "killed"))
    undisturbed.folder.mkdir()
    killed.folder.mkdir()

    exam.require(run(undisturbed, kill=False) == 0, f"scenario {name}: the undisturbed run ends its process")
    expected = undisturbed.result
    if "error" in expected:
        exam.find(f"scenario {name}: the undisturbed run fails: {expected['error']}")
        return
    ends = {key: expected["state"].get(key) for key in scenario.expected}
    exam.require(
        ends == dict(scenario.expected), f"scenario {name} ends with {ends}, not with {dict(scenario.expected)}"
    )
    points = Journal(undisturbed.journal).points()

    journal = Journal(killed.journal)
    while run(killed, kill=True) == -signal.SIGKILL and len(journal.deaths()) <= DEATHS * len(points):
        pass  # another process goes on

    died = set(journal.deaths())
    exam.look("kills", len(died))
    for place in repeated(journal.lines()):
        exam.find(f"scenario {name}, killed, ran again though it was over: {place}")
    result = killed.result
    if "error" in result:
        exam.find(f"scenario {name}, killed, does not go on: {result['error']}")
        return
    for part, complaint in ("state", "ends in another state"), ("effects", "has other effects"):
        if result[part] != expected[part]:
            text = f"scenario {name}, killed, {complaint}: {result[part]}\n  instead of: {expected[part]}"
            exam.find(text)

    inside = {point for point in points if point.startswith("node ")}
    exam.require(inside <= died, f"scenario {name} was never killed at: {sorted(inside - died)}")
    after = {_superstep(point) for point in died - inside}
    missed = {_superstep(point) for point in inside} - after
    exam.require(not missed, f"scenario {name} was never killed after: {sorted(missed)}")


def _superstep(point: str) -> str:
    return point.partition(": ")[2].partition(",")[0]
