"""A scenario's run in a process of its own, to be killed or to go on with what was killed."""

import asyncio
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...agent import AgentSettings, build_graph, checkpoint_types, scenarios
from ...persistence import open_checkpointer, open_ledger
from ...runs import Runs, ThreadStatus, UnknownThread
from ...scenario import Scenario
from .crash_points import Journal, NodePoints, SaverPoints
from .plain import plain
from .play import job_name


@dataclass(frozen=True)
class Case:
    """One thread of a scenario, with a folder for its journal, its result and its effects.

    Its processes have the environment of a process that was there before: what the test set in its own comes along.
    """

    scenario: str
    database_url: str
    folder: Path
    direct_url: str = field(default_factory=lambda: os.environ.get("DATABASE_DIRECT_URL", ""))

    @property
    def thread(self) -> str:
        """The thread's id."""
        return f"{job_name(self.scenario)}-{self.folder.name}"

    @property
    def journal(self) -> Path:
        """The points that its processes have passed."""
        return self.folder / "journal.jsonl"

    @property
    def result(self) -> dict[str, Any]:
        """What the run ended with: `state` and `effects`, or an `error` (Any: what JSON can hold)."""
        path = self.folder / "result.json"
        if not path.exists():
            return {"error": "it was killed again and again and came to no end"}
        result: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return result


def run_case(case: Case, *, kill: bool) -> None:
    """Start the case's run or go on with it, and write down the result; with `kill`, die on the way."""
    asyncio.run(_run_case(case, kill=kill))


async def _run_case(case: Case, *, kill: bool) -> None:
    scenario = next(scenario for scenario in scenarios() if scenario.name == case.scenario)
    settings = _settings(case, scenario)
    journal = Journal(case.journal, kill=kill)
    places: dict[str, str] = {}
    async with open_checkpointer(case.database_url, settings=settings, types=checkpoint_types) as checkpointer:
        graph = build_graph().compile(checkpointer=SaverPoints(checkpointer, journal, places))
        watched = graph.with_config(callbacks=[NodePoints(journal, places)])
        try:
            async with Runs(watched, settings, open_ledger(checkpointer)) as runs:
                status = await _run_to_the_end(runs, case, scenario, journal)
            result = {"state": plain(status.values), "effects": scenario.effects(settings)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the check reports it as the case's result
            result = {"error": f"{type(error).__name__}: {error}"}
    (case.folder / "result.json").write_text(json.dumps(result), "utf-8")


def _settings(case: Case, scenario: Scenario) -> AgentSettings:
    own = {
        "run_crash_limit": 1000,
        "data_dir": case.folder,
        "environment": "test",
        "database_direct_url": case.direct_url,
    }
    return AgentSettings(_env_file=None, **{**own, **scenario.settings})


async def _run_to_the_end(runs: Runs, case: Case, scenario: Scenario, journal: Journal) -> ThreadStatus:
    """Do what a client does: start, go on after a crash, and answer what is asked."""
    try:
        status = await runs.status(case.thread)
    except UnknownThread:  # it died before it was accepted: the client sends its input again
        status = await runs.start(scenario.input, thread=case.thread)
    while status.condition in ("unfinished", "waiting"):
        if status.condition == "waiting":
            status = await runs.answer(case.thread, _answer(status, scenario, journal))
        else:
            status = await runs.resume(case.thread)
    return status


def _answer(status: ThreadStatus, scenario: Scenario, journal: Journal) -> str:
    """Return the scenario's answer to this interrupt: the same one again when a crash lost it."""
    asked = list(dict.fromkeys(line["interrupt"] for line in journal.lines() if line["what"] == "answer sent"))
    interrupt = status.interrupts[0].id
    number = asked.index(interrupt) if interrupt in asked else len(asked)
    if number >= len(scenario.answers):
        raise LookupError(f"scenario {scenario.name} has {len(scenario.answers)} answers and is asked once more")
    journal.reach("answer sent", f"number {number + 1}", interrupt=interrupt)
    return scenario.answers[number]
