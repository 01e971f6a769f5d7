"""R14 in-flight: a run that was begun on the last release comes to a legal end on today's code."""

import asyncio
import itertools
import re
from collections import defaultdict
from pathlib import Path

from langgraph.checkpoint.base import BaseCheckpointSaver

from .. import agent
from ..agent import build_graph, checkpoint_types
from ..errors import ProjectError
from ..persistence import open_checkpointer, open_ledger
from ..runs import Runs
from ..runs.config import project_version
from ..scenario import Scenario
from .engine.check import Check, Exam, Place
from .playing.inflight import FOLDER, SUFFIX, bring_back, file_of, read, record, told
from .playing.play import MOST_ANSWERS, Plays, settings_for

CHECK = Check(
    id="R14",
    title="in-flight",
    holds="every scenario, as it was recorded at each release in `tests/inflight`, is gone on with on today's code:"
    " from the queue, from each superstep and from each question. It comes to a legal end: done, failed as it failed"
    " then or fails today, or waiting where it waited. Without a recording, today's own is gone on with.",
    why="a thread waits for days, and a deployment does not wait for it: what a new release renames, or gives another"
    " form, breaks runs that were accepted before it.",
    remedy="register what has changed in `agent/migrations.py`: `RENAMED` for nodes, `STATE` for the form of the state."
    " At each release run the command `record` and commit the folder; delete that of a release of which no thread is"
    " under way any more.",
    fact="LangGraph takes a checkpoint whose next node is not in the graph for one that is over: `next` is empty, the"
    " call returns, and nothing is raised or logged.",
    not_covered="what a run ends with besides its condition; threads that are over and get a new input; and sub-graphs"
    " whose state has another form.",
)

End = tuple[str, str]  # the condition, and why

MIGRATIONS = Place(Path(str(agent.__file__)).with_name("migrations.py"))


def test_recorded_runs_come_to_a_legal_end(
    scenario: Scenario, plays: Plays, project: Path, tmp_path: Path, exam: Exam
) -> None:
    """The scenario's thread, left at each place, is gone on with."""
    files = sorted((project / FOLDER).glob(f"*/{file_of(scenario.name)}"))
    recorded = [(file.parent.name, file.read_bytes()) for file in files]
    if not recorded:
        release = project_version()
        recorded = [(f"{release}, recorded just now", asyncio.run(record(scenario, release, tmp_path)))]
    played = plays.of(scenario)
    today = (played.status.condition, played.status.error) if played.status else ("failed", "")
    if played.error:
        today = ("failed", told(played.error))
    for number, each in enumerate(recorded):
        folder = tmp_path / str(number)
        folder.mkdir()
        asyncio.run(_go_on(scenario, each, today, folder, exam))


def test_recorded_scenarios_are_there(project: Path, exam: Exam) -> None:
    """A scenario that was recorded is one of today's, whose settings and answers are needed to go on with it."""
    known = {file_of(scenario.name) for scenario in agent.scenarios()}
    exam.look("scenarios", len(known))
    for file in sorted((project / FOLDER).glob(f"*/*{SUFFIX}")):
        exam.require(
            file.name in known,
            f"release {file.parent.name} has scenario {file.stem}, and scenarios() does not: bring it back, or delete"
            f" {file.relative_to(project)} if no such thread is under way",
        )


async def _go_on(scenario: Scenario, recorded: tuple[str, bytes], today: End, folder: Path, exam: Exam) -> None:
    said = f"scenario {scenario.name} of release {recorded[0]}"
    settings = settings_for(scenario, folder)
    url = f"sqlite:///{folder / 'threads.db'}"
    wrong: dict[str, list[str]] = defaultdict(list)  # where, by what is wrong
    async with open_checkpointer(url, settings=settings, types=checkpoint_types) as opened:
        graph = build_graph().compile(checkpointer=opened)
        saver = graph.checkpointer if isinstance(graph.checkpointer, BaseCheckpointSaver) else opened
        try:
            recording = read(recorded[1], saver)
        except ProjectError as error:
            exam.find(f"{said} cannot be read: {error}", MIGRATIONS)
            return
        async with Runs(graph, settings, open_ledger(opened)) as runs:
            for stop in recording.stops():
                thread = f"inflight-{stop}"
                await bring_back(recording, stop, thread, saver, runs.ledger)
                exam.look("places to go on from")
                condition, why = await _end(runs, thread, scenario.answers[recording.answered(stop) :])
                if not _is_legal((condition, why), today, (recording.condition, recording.error)):
                    text = f"is {condition}: {why}" if why else f"is {condition}"
                    wrong[text.replace(thread, "<thread>")].append(recording.describe(stop))
    for text, places in wrong.items():
        more = f", and at {len(places) - 1} more of {len(recording.stops())} places" if len(places) > 1 else ""
        exam.find(f"{said}, left {places[0]}{more}, {text}", MIGRATIONS)


async def _end(runs: Runs, thread: str, answers: tuple[str, ...]) -> End:
    """Go on with a thread, and return the condition that it ends in, and why."""
    left = iter(answers)
    try:
        status = await runs.status(thread)
        for _ in itertools.repeat(None, MOST_ANSWERS):
            if status.condition == "queued":
                status = await runs.resume(thread)
            elif status.condition == "waiting" and (answer := next(left, None)) is not None:
                status = await runs.answer(thread, answer)
            else:
                break
    except Exception as error:  # noqa: BLE001 - whatever it is, it is how the run ends
        return "failed", told(error)
    if status.condition == "waiting":
        return "waiting", f"{', '.join(question.node for question in status.questions)} asks, and has no answer"
    return status.condition, status.error


def _is_legal(end: End, *known: End) -> bool:
    """Return whether a run may end so: done, or as one of the `known` ends."""
    if end[0] == "failed":
        return ("failed", _bare(end[1])) in {(condition, _bare(error)) for condition, error in known}
    return end[0] == "done" or end[0] in {condition for condition, _ in known} & {"waiting"}


def _bare(text: str) -> str:
    """Return a text without what differs from run to run."""
    return re.sub(r"[0-9a-f]{8}[0-9a-f-]+|\d+", "#", text)
