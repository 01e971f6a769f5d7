"""R08 crash and resume: a run that is killed at any instant ends as if it had not been.

For every scenario of the agent, on every backend of the project: run it once undisturbed, then once for each point that
this run passed, killed there with SIGKILL; then a new process goes on with all the killed threads. Each must end in the
undisturbed run's state, without working again on a node that was over, and with the same effects on the world.
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
from .crash_run import Case, run_cases

PATIENCE = 60.0  # seconds that one process may take
KINDS = {"node finished", "writes stored", "checkpoint stored"}

SCENARIOS = scenarios()


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Forks a warm process that has imported the agent: a fresh one would take a second each time.

    Of the backends' modules it passes over those that this project does not have.
    """
    context = multiprocessing.get_context("forkserver")
    backends = [f"{persistence.__name__}.sqlite", f"{persistence.__name__}.postgres"]
    context.set_forkserver_preload(["__main__", crash_run.__name__, *backends])
    return context


@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
def test_killed_run_resumes(name: str, database_url: str, tmp_path: Path, processes: ForkServerContext) -> None:
    """The scenario survives SIGKILL at every point."""

    def run(cases: list[Case], kill_at: int | None = None) -> int | None:
        process = processes.Process(target=run_cases, args=(cases, kill_at))
        process.start()
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
            pytest.fail(f"{name} was still running after {PATIENCE:.0f} s")
        return process.exitcode

    def case(label: str) -> Case:
        folder = tmp_path / label
        folder.mkdir()
        return Case(name, database_url, folder)

    undisturbed = case("undisturbed")
    assert run([undisturbed]) == 0
    expected = undisturbed.result
    assert "error" not in expected, f"the undisturbed run fails: {expected['error']}"
    promised = next(scenario.expected for scenario in SCENARIOS if scenario.name == name)
    assert {key: expected["state"].get(key) for key in promised} == dict(promised), "it does not end as it promises"
    points = Journal(undisturbed.journal).points()
    assert {point["what"] for point in points} >= KINDS, "the run is not seen: the check would prove nothing"

    killed = [case(f"killed-{number}") for number in range(1, len(points) + 1)]
    for number, victim in enumerate(killed, start=1):
        assert run([victim], kill_at=number) == -signal.SIGKILL, f"it was not killed at point {number} of {len(points)}"
    assert run(killed) == 0

    wrong = [
        f"killed at {point}:\n  " + "\n  ".join(problems)
        for point, victim in zip(points, killed, strict=True)
        if (problems := _problems(expected, victim))
    ]
    assert not wrong, "\n".join([f"{len(wrong)} of {len(points)} points lose work:", *wrong])


def _problems(expected: dict[str, object], victim: Case) -> list[str]:
    result = victim.result
    if "error" in result:
        return [f"does not go on: {result['error']}"]
    problems = [f"ran again: {node}" for node in repeated(Journal(victim.journal).lines())]
    if result["state"] != expected["state"]:
        problems.append(f"ends in another state: {result['state']}\n  instead of: {expected['state']}")
    if result["effects"] != expected["effects"]:
        problems.append(f"has other effects: {result['effects']} instead of: {expected['effects']}")
    return problems
