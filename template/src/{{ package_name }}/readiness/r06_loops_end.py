"""R06 loops end: by a cap in the state, well before LangGraph's own limit, however often the run is resumed.

Every cycle of the graph and of its sub-graphs is looked at for an exit that counts in the state. Then the scenarios
are played, those that ask a person with one who never approves, and their supersteps are counted.
"""

import asyncio
from itertools import repeat
from pathlib import Path

from langgraph.errors import GraphRecursionError

from ..runs.errors import WrongRequest
from ..scenario import Scenario
from .engine.budgets import Budgets
from .engine.check import Check, Exam
from .playing.play import MOST_ANSWERS, Played, Plays, play
from .source.loops import loops, unbounded
from .source.nodes import graphs

REFUSAL = "This is not good enough yet: change it."

CHECK = Check(
    id="R06",
    title="loops end",
    holds="every cycle of the graph has an exit that counts in the state, and every scenario ends within"
    " `supersteps_share` of an explicit `recursion_limit`, all resumed parts together, though nobody ever approves.",
    why="a model that is never content costs money until something stops it, and LangGraph's own limit is an error"
    " after 10,007 supersteps.",
    remedy="count in the state and let the router ask: `{'revisions': state['revisions'] + 1}` in a node of the cycle,"
    " `return 'again' if state['revisions'] < MAX_REVISIONS else 'give_up'` in the router; see `agent/routing.py`. Set"
    " `RECURSION_LIMIT` above the longest path that the caps allow.",
    fact="measured: the limit is 10,007 by default and counts for one call; after GraphRecursionError `ainvoke(None)`"
    " goes on with a fresh one, so only a count in the state bounds a run that is resumed. Read: several templates have"
    " no cap.",
    not_covered="graphs that a node calls itself; targets of a Command that the node does not declare; whether a cap is"
    " small enough to pay for; a model that is never content, where no scenario has one.",
)


def test_every_cycle_has_a_bounded_exit(exam: Exam) -> None:
    """Every cycle has an edge that is taken a bounded number of times."""
    for path, graph in graphs():
        exam.look("nodes", len(graph.nodes))
        exam.look("loops", len(loops(graph)))
        for cycle, place in unbounded(graph):
            text = f"the cycle {' -> '.join(path + name for name in cycle)} has no exit that counts in the state"
            exam.find(text, place)


def test_scenarios_end_by_their_caps(
    scenarios: list[Scenario], plays: Plays, budgets: Budgets, tmp_path: Path, exam: Exam
) -> None:
    """Every scenario ends well within the limit, whatever a person answers."""
    for number, scenario in enumerate(scenarios):
        played = plays.of(scenario)
        _require_end(played, budgets, exam)
        if not played.questions:
            continue
        most = min(MOST_ANSWERS, played.settings.recursion_limit)  # each takes a superstep at least
        refused = asyncio.run(_refused(scenario, most, tmp_path / str(number)))
        if refused.status and refused.status.condition == "waiting":
            exam.find(f"scenario {scenario.name} never comes to an end: it still asks after {most} wishes for changes")
        else:
            _require_end(refused, budgets, exam)


async def _refused(scenario: Scenario, most: int, folder: Path) -> Played:
    """Return the record of a scenario whose questions are all answered by a wish for changes."""
    played = await play(scenario, folder / "refused", answers=repeat(REFUSAL, most))
    for number, answer in enumerate(dict.fromkeys(scenario.answers)):
        if not isinstance(played.error, WrongRequest):  # the question's schema does not take the answer before
            break
        played = await play(scenario, folder / str(number), answers=repeat(answer, most))
    return played


def _require_end(played: Played, budgets: Budgets, exam: Exam) -> None:
    name, limit = f"scenario {played.scenario.name}", played.settings.recursion_limit
    taken = sum(not stored.namespace and stored.step > 0 for stored in played.checkpoints)
    exam.look("supersteps", taken)
    if isinstance(played.error, GraphRecursionError):
        exam.find(f"{name} is stopped by the recursion limit of {limit}, not by a cap in the state")
        return
    most = int(budgets.supersteps_share * limit)
    text = f"{name} takes {taken} supersteps, {most} at most: {budgets.supersteps_share:.0%} of the limit of {limit}"
    exam.require(taken <= most, text)
