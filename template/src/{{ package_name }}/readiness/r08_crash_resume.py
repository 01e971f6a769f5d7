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
from ..agent import scenarios
from . import crash_run
from .crash_points import Journal, repeated
from .crash_run import Case, run_case

PATIENCE = 60.0  # seconds that one process may take
DEATHS = 3  # times the points of the undisturbed run; a run that passes more does not come to an end

SCENARIOS = {scenario.name: scenario for scenario in scenarios()}


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Forks a warm process that has imported the agent: a fresh one would take a second each time.

    Of the backends' modules it passes over those that this project does not have.
    """
    context = multiprocessing.get_context("forkserver")
    backends = [f"{persistence.__name__}.sqlite", f"{persistence.__name__}.postgres"]
    context.set_forkserver_preload(["__main__", crash_run.__name__, *backends])
    return context


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_run_resumes(name: str, database_url: str, tmp_path: Path, processes: ForkServerContext) -> None:
    """The scenario survives SIGKILL at every point."""

    def run(case: Case, *, kill: bool) -> int | None:
        process = processes.Process(target=run_case, args=(case,), kwargs={"kill": kill})
        process.start()
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
            pytest.fail(f"{name} was still running after {PATIENCE:.0f} s")
        return process.exitcode

    undisturbed, killed = (Case(name, database_url, tmp_path / label) for label in ("undisturbed", "killed"))
    undisturbed.folder.mkdir()
    killed.folder.mkdir()

    assert run(undisturbed, kill=False) == 0
    expected = undisturbed.result
    assert "error" not in expected, f"the undisturbed run fails: {expected['error']}"
    promised = dict(SCENARIOS[name].expected)
    assert {key: expected["state"].get(key) for key in promised} == promised, "it does not end as it promises"
    points = Journal(undisturbed.journal).points()

    journal = Journal(killed.journal)
    while run(killed, kill=True) == -signal.SIGKILL and len(journal.deaths()) <= DEATHS * len(points):
        pass  # another process goes on

    problems = [f"ran again though it was over: {place}" for place in repeated(journal.lines())]
    result = killed.result
    if "error" in result:
        problems.append(f"does not go on: {result['error']}")
    else:
        problems += [
            f"{complaint}: {result[part]}\n  instead of: {expected[part]}"
            for part, complaint in (("state", "ends in another state"), ("effects", "has other effects"))
            if result[part] != expected[part]
        ]
    assert not problems, "\n".join(["a killed run loses or repeats work:", *problems])

    died = set(journal.deaths())
    inside = {point for point in points if point.startswith("node ")}
    assert inside <= died, f"it was never killed at: {inside - died}"
    after = {_superstep(point) for point in died - inside}
    assert {_superstep(point) for point in inside} <= after, f"after some superstep it was never killed: {died}"


def _superstep(point: str) -> str:
    return point.partition(": ")[2].partition(",")[0]
