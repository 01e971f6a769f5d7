"""What must be true in the end."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import psycopg
from acme_agent.runs import Runs

from .cases import Case

_LEFT_OVER = {
    "runs that are held": "SELECT count(*) FROM agent_runs WHERE status = 'running'",
    "jobs that are held": "SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'",
    "inputs of finished runs": (
        "SELECT count(*) FROM agent_runs WHERE status IN ('done', 'failed') AND input IS NOT NULL"
    ),
    "open questions of finished runs": "SELECT count(*) FROM agent_questions WHERE state IN ('open', 'answered')",
    "writes without a checkpoint": """
        SELECT count(*) FROM checkpoint_writes AS w WHERE NOT EXISTS (
            SELECT 1 FROM checkpoints AS c
            WHERE (c.thread_id, c.checkpoint_ns, c.checkpoint_id) = (w.thread_id, w.checkpoint_ns, w.checkpoint_id)
        )
    """,
}


async def problems(
    runs: Runs, cases: list[Case], accepted: list[str], expected: Mapping[tuple[str, int], Mapping[str, Any]]
) -> list[str]:
    """Return what is wrong with the runs and their threads, a line each (Any: values of the state)."""
    found: list[str] = []
    for run_id in accepted:
        run = await runs.ledger.find(run_id)
        if run is None:
            found.append(f"run {run_id} is gone")
    for case in cases:
        found += [
            f"{case.thread} ({case.scenario.name}): run {run.run_id} is {run.status}: {run.error}"
            for run in await runs.ledger.newest(case.thread, 9)
            if run.status != ("failed" if case.fails else "done")
        ]
        status = await runs.status(case.thread)
        different = case.differences(status.values, expected[case.scenario.name, case.turns])
        if different:
            found.append(f"{case.thread} ({case.scenario.name}): another state in {', '.join(different)}")
    return found


async def left_over(url: str, patience: float) -> list[str]:
    """Return what the database holds that it must not hold in the end; the workers have so long to clear up."""
    end = asyncio.get_running_loop().time() + patience
    while True:
        with psycopg.connect(url, autocommit=True) as connection:
            counts = {what: (connection.execute(query).fetchone() or (0,))[0] for what, query in _LEFT_OVER.items()}
        found = [f"{what}: {count}" for what, count in counts.items() if count]
        if not found or asyncio.get_running_loop().time() > end:
            return found
        await asyncio.sleep(1)


async def left_in(runs: Runs, patience: float) -> list[str]:
    """Return what the ledger holds that it must not hold in the end, where no SQL can ask for it."""
    end = asyncio.get_running_loop().time() + patience
    while True:
        held = await runs.ledger.lost(-1.0, 1000)
        waiting = await runs.ledger.open_questions(1000)
        found = [f"{run.thread_id} is held by {run.holder}" for run in held]
        found += [f"{question.thread_id} is still asked" for question in waiting]
        if not found or asyncio.get_running_loop().time() > end:
            return found
        await asyncio.sleep(1)


def effects(happened: list[str], expected: Counter[str]) -> list[str]:
    """Return the effects that happened too often, or not."""
    counted = Counter(happened)
    return [
        f"{counted[effect]} times instead of {expected[effect]}: {effect[:60]}"
        for effect in sorted({*counted, *expected})
        if counted[effect] != expected[effect]
    ]
