"""`python -m chaos`: runs on three workers that are killed, frozen and stopped at random, and whether all is well.

    --plant fence          writes are not checked against the lease
    --plant index          the database allows two running runs of a thread
    --plant deliver-once   what was given to the graph is given again after a crash
    --plant go-on          a thread whose `next` is empty is taken for finished

With a planted bug it must fail, and without one it must not.
"""

import argparse
import asyncio
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from acme_agent.agent import AgentSettings, scenarios
from acme_agent.agent.offline_scenarios import EXAMPLES
from acme_agent.cancelling import end
from acme_agent.persistence import migrate
from acme_agent.persistence.urls import has_queue
from acme_agent.runs import Runs, open_runs
from pydantic import SecretStr

from .cases import Case, cases
from .client import Client
from .database import BACKENDS, Database, database
from .disturbances import Workers, disturb
from .verdict import effects, left_in, left_over, problems
from .worker_main import MODEL, play_all

WORKERS = 3

CLEARING = 90.0  # seconds until what dead workers have left is cleared up

State = Mapping[str, Any]  # Any: values of the state


def main() -> None:
    """Run it, print what happened, and exit with 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="how long things go wrong")
    parser.add_argument("--threads", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--lease", type=float, default=20, help="seconds of silence after which a run is taken over")
    parser.add_argument("--pause", type=float, default=3, help="seconds between two disturbances")
    parser.add_argument("--deaths", type=float, default=0.003, help="chance of dying right after a write")
    parser.add_argument("--afterwards", type=float, default=180, help="seconds of peace to come to an end in")
    parser.add_argument("--backend", choices=BACKENDS, default=BACKENDS[0])
    parser.add_argument("--plant", choices=["", "fence", "index", "deliver-once", "go-on"], default="")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}: {chosen.threads} threads, {WORKERS} workers, {chosen.seconds:g} s", flush=True)
    os.environ.pop("TEST_DATABASE_URL", None)  # the server is going to be restarted
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # that the database is away is no news here
    logging.getLogger("acme_agent").setLevel(logging.ERROR)
    play_all()
    with database(chosen.backend) as disturbed, tempfile.TemporaryDirectory() as folder:
        wrong = asyncio.run(chaos(disturbed, Path(folder), chosen))
    for line in wrong[:40]:
        print(f"WRONG: {line}")
    print(f"{len(wrong)} things are wrong (seed {chosen.seed})" if wrong else "all is well")
    sys.exit(bool(wrong))


async def chaos(database: Database, folder: Path, chosen: argparse.Namespace) -> list[str]:
    """Return what is wrong in the end."""
    dice = random.Random(chosen.seed)
    asked = cases(chosen.threads)
    expected, published = await undisturbed(asked, folder / "undisturbed")
    url = database.url
    settings = _settings(folder / "disturbed", url)
    await migrate(url, settings=settings)
    if chosen.plant == "index":
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP INDEX agent_runs_one_running")
    environment = {
        "DATABASE_URL": url,
        "DATA_DIR": str(settings.data_dir),
        "DOCS": str(EXAMPLES),
        "ENVIRONMENT": "test",
        "MODEL": f"scripted:{MODEL}",
        "RUN_CRASH_LIMIT": "1000",
        "RUN_RETRIES": "100",
        "CHAOS_PLANT": "" if chosen.plant == "index" else chosen.plant,
        "CHAOS_LEASE": str(chosen.lease),
        "CHAOS_DEATHS": str(chosen.deaths),
        "CHAOS_PEACE": str(folder / "peace"),
        "CHAOS_QUEUE": "yes" if has_queue(url) else "",
    }
    workers = Workers(WORKERS, environment, folder / "workers.log")
    try:
        async with open_runs(settings) as runs:
            client = Client(runs, asked, dice)
            helpers = [asyncio.create_task(client.answer_all()), asyncio.create_task(client.ask_wrongly())]
            began = time.monotonic()
            submitting = asyncio.create_task(client.submit(0.7 * chosen.seconds))
            happened = await disturb(workers, database, dice, chosen.seconds, lease=chosen.lease, pause=chosen.pause)
            (folder / "peace").touch()
            wrong = await _end(runs, submitting, client, workers, chosen.afterwards)
            await end(*helpers, submitting)
            wrong += [f"nobody answers or asks: {helper.exception()!r}" for helper in helpers if not helper.cancelled()]
            wrong += [f"an answer to nothing was taken on {thread}" for thread in client.wrongly_taken]
            wrong += await problems(runs, asked, client.accepted, expected)
            print(f"{len(client.accepted)} runs in {time.monotonic() - began:.0f} s; {dict(happened)}")
            print(f"answers: {dict(client.refused)}")
            if not wrong:
                wrong = await left_over(url, CLEARING) if has_queue(url) else await left_in(runs, CLEARING)
    finally:
        workers.stop()
    done = effects(_effects(settings), published)
    if wrong and os.environ.get("CHAOS_LOG"):
        shutil.copy(folder / "workers.log", os.environ["CHAOS_LOG"])
    return wrong + done


async def _end(
    runs: Runs, submitting: asyncio.Task[None], client: Client, workers: Workers, seconds: float
) -> list[str]:
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            reviving = group.create_task(_revive(workers))
            await submitting
            await client.all_over()
            reviving.cancel()
    except TimeoutError:
        return [f"not over after {seconds:g} s in peace: {await runs.ledger.counts()}"]
    return []


async def _revive(workers: Workers) -> None:
    while True:
        workers.revive()
        await asyncio.sleep(1)


async def undisturbed(asked: list[Case], folder: Path) -> tuple[dict[tuple[str, int], State], Counter[str]]:
    """Return the final state of each kind of case, and the effects of all of them, with nothing going wrong."""
    states: dict[tuple[str, int], State] = {}
    effects_of: dict[tuple[str, int], list[str]] = {}
    for case in asked:
        kind = (case.scenario.name, case.turns)
        if kind in states:
            continue
        settings = _settings(folder / f"{kind[0]}-{kind[1]}", "")
        async with open_runs(settings) as runs:
            for _ in range(case.turns):
                status = await runs.start(case.scenario.input, thread="t")
                for answer in case.scenario.answers:
                    status = await runs.answer("t", answer)
        states[kind] = status.values
        effects_of[kind] = _effects(settings)
    total: Counter[str] = Counter()
    for case in asked:
        total.update(effects_of[case.scenario.name, case.turns])
    return states, total


def _effects(settings: AgentSettings) -> list[str]:
    """Return what the example has done to the world."""
    return scenarios()[0].effects(settings)


def _settings(folder: Path, url: str) -> AgentSettings:
    return AgentSettings(
        _env_file=None,
        database_url=SecretStr(url),
        data_dir=folder,
        docs=EXAMPLES,
        model=f"scripted:{MODEL}",
        environment="test",
        actor="chaos",
    )


if __name__ == "__main__":
    main()
