"""`python -m bench.purge`: what forgetting costs the live runs, and what it leaves.

`beside` deletes old threads in a process of its own beside live runs in this one. Every few seconds that process is
stopped for a while, so that the supersteps with and without it are measured under the same conditions. The runs' nodes
wait as nodes do that call a model; with `--think 0` they do not, and the machine is busy to the brim.
`growth` has a long conversation and shows the size of its newest checkpoint, and its rows.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any
from uuid import uuid4

import psycopg
from acme_agent.agent import AgentSettings, new_input
from acme_agent.agent.offline_scenarios import EXAMPLES
from acme_agent.persistence import migrate, open_checkpointer
from acme_agent.readiness.servers.postgres_server import create_database
from acme_agent.runs import open_runs
from acme_agent.settings import Settings
from langgraph.graph import START, StateGraph
from pydantic import SecretStr

from .graph import State, check, first_input, moments, plan, search, write
from .server import durable_server

QUESTIONS = ("How many books may a member borrow?", "What does printing cost?", "How long is the loan period?")
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
AGE = 60  # days
WARM_UP = 10.0  # seconds; the purge's process starts in them
UNIT = (
    24 * 3600 * 10**7 >> 12
)  # a day in the first twelve hex digits of a checkpoint id, whose clock ticks every 100 ns

SIZE = """
SELECT
    octet_length(c.checkpoint::text) + (
        SELECT coalesce(sum(octet_length(b.blob)), 0)
        FROM jsonb_each_text(c.checkpoint -> 'channel_versions') AS version
        JOIN checkpoint_blobs AS b
            ON (b.thread_id, b.checkpoint_ns, b.channel, b.version)
            = (c.thread_id, c.checkpoint_ns, version.key, version.value)
    )
FROM checkpoints AS c
ORDER BY c.checkpoint_id DESC
LIMIT 1
"""


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.purge", description=__doc__)
    parser.add_argument("what", choices=["beside", "growth"])
    parser.add_argument("--threads", type=int, default=10_000, help="old threads to delete")
    parser.add_argument("--runs", type=int, default=32, help="live runs at once")
    parser.add_argument("--think", type=float, default=0.1, help="seconds that each node of a live run waits")
    parser.add_argument(
        "--window", type=float, default=4, help="seconds that the purge works, or is stopped, at a time"
    )
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--keep", type=int, default=20, help="HISTORY_KEEP")
    chosen = parser.parse_args()
    with durable_server() as admin_url, tempfile.TemporaryDirectory() as folder:
        url = create_database(admin_url, f"bench_{uuid4().hex[:12]}")
        asyncio.run(migrate(url, settings=Settings(_env_file=None)))
        if chosen.what == "beside":
            asyncio.run(beside(url, Path(folder), chosen))
        else:
            asyncio.run(growth(url, Path(folder), chosen.turns, chosen.keep))


async def beside(url: str, folder: Path, chosen: argparse.Namespace) -> None:
    """Print the live runs' supersteps with and without the purge."""
    await _old_threads(url, folder, chosen.threads)
    beside: list[float] = []
    alone: list[float] = []
    async with _live(url, chosen.runs, chosen.think) as supersteps:
        purge = await _purge(url, folder, AUDIT_WINDOW_DAYS="30")
        await asyncio.sleep(WARM_UP)
        ended = asyncio.create_task(purge.wait(), name="purge")
        worked = WARM_UP
        while not ended.done():
            purge.send_signal(signal.SIGSTOP)
            alone += await _within(supersteps, chosen.window, ended)
            purge.send_signal(signal.SIGCONT)
            began = perf_counter()
            beside += await _within(supersteps, chosen.window, ended)
            worked += perf_counter() - began
    if purge.returncode:
        raise RuntimeError(f"the purge ended with {purge.returncode}")
    done = json.loads((await asyncio.to_thread((folder / "purge.jsonl").read_text, "utf-8")).splitlines()[-1])
    left = _one(url, "SELECT count(*) FROM checkpoints WHERE thread_id LIKE 'old-%'")
    print(f"purge of {done['actions']} in {worked:.0f} s: {done['rows']} rows gone, {left} left of the old threads")
    for name, found in (("alone", alone), ("beside the purge", beside)):
        p50, p99 = 1000 * median(found), 1000 * _p99(found)
        print(f"{name:16} p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   {len(found)} supersteps")
    print(f"p99 beside / alone: {_p99(beside) / _p99(alone):.2f}")


async def growth(url: str, folder: Path, turns: int, keep: int) -> None:
    """Print the size of a long conversation's newest checkpoint, and its rows before and after a purge."""
    settings = _settings(url, folder, history_keep=keep)
    async with open_runs(settings) as runs:
        for turn in range(1, turns + 1):
            status = await runs.start(new_input(QUESTIONS[turn % len(QUESTIONS)]), thread="long")
            if status.condition != "done":
                raise RuntimeError(status.values)
            if turn in {10, 20, 50} or turn % 100 == 0:
                size = int(_one(url, SIZE))
                print(f"turn {turn:5}: newest checkpoint {size:6} bytes, {_rows(url)} rows")
        began = perf_counter()
        done = await runs.purge()
        print(f"purge, history_keep={keep}: {done.rows} rows gone in {perf_counter() - began:.1f} s, {_rows(url)} left")
        await runs.start(new_input(QUESTIONS[0]), thread="long")
        await runs.purge()
        print(f"one turn later, purged again: {_rows(url)} rows")


async def _old_threads(url: str, folder: Path, number: int) -> None:
    """Run the example agent once, make its thread old, and copy it."""
    async with open_runs(_settings(url, folder)) as runs:
        await runs.start(new_input(QUESTIONS[0]), thread="old-0")
    with psycopg.connect(url, autocommit=True) as connection:
        for (id_,) in connection.execute("SELECT checkpoint_id FROM checkpoints").fetchall():
            digits = f"{int(id_[:8] + id_[9:13], 16) - AGE * UNIT:012x}"
            older = f"{digits[:8]}-{digits[8:]}{id_[13:]}"
            for column in ("checkpoint_id", "parent_checkpoint_id"):
                connection.execute(f"UPDATE checkpoints SET {column} = %s WHERE {column} = %s".encode(), (older, id_))
            connection.execute("UPDATE checkpoint_writes SET checkpoint_id = %s WHERE checkpoint_id = %s", (older, id_))
        connection.execute("""
            UPDATE checkpoints SET checkpoint = checkpoint || jsonb_build_object(
                'id', checkpoint_id, 'ts', ((checkpoint ->> 'ts')::timestamptz - interval '60 days')::text
            )
        """)
        for table in TABLES:
            connection.execute(
                f"INSERT INTO {table} SELECT (jsonb_populate_record(t, jsonb_build_object('thread_id', 'old-' || n))).*"
                f" FROM {table} AS t, generate_series(1, %s) AS n".encode(),
                (number - 1,),
            )
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
        print(f"{number} old threads of {_rows(url) // number} rows")


@asynccontextmanager
async def _live(url: str, runs: int, think: float) -> AsyncIterator[list[float]]:
    """Keep so many runs under way, each followed by the next. Yield the list that gets the supersteps' times."""
    found: list[float] = []
    graph: Any = StateGraph(State)  # Any: its nodes are wrapped
    for node in (plan, search, write, check):
        graph.add_node(node.__name__, _thinking(node, think))
    for earlier, later in pairwise([START, "plan", "search", "write", "check"]):
        graph.add_edge(earlier, later)
    settings = Settings(_env_file=None, database_url=SecretStr(url))
    async with open_checkpointer(url, settings=settings) as saver:
        compiled = graph.compile(checkpointer=saver)

        async def go_on() -> None:
            while True:
                noted: list[float] = []
                moments.set(noted)
                config = {"configurable": {"thread_id": f"live-{uuid4()}"}}
                await compiled.ainvoke(first_input(2), config, durability="sync")
                found.extend(later - earlier for earlier, later in pairwise([*noted, perf_counter()]))

        tasks = [asyncio.create_task(go_on(), name=f"live run {number}") for number in range(runs)]
        try:
            yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _thinking(node: Any, think: float) -> Any:  # Any: a node of whatever state
    async def thinking(state: State) -> State:
        update: State = await node(state)
        await asyncio.sleep(think)
        return update

    return thinking


async def _within(supersteps: list[float], seconds: float, ended: asyncio.Task[int]) -> list[float]:
    """Return the times of the supersteps from now on, for so long or until the purge has ended."""
    supersteps.clear()
    await asyncio.wait([ended], timeout=seconds)
    return supersteps.copy()


async def _purge(url: str, folder: Path, **policy: str) -> asyncio.subprocess.Process:
    """Start `purge` as cron does."""
    out = await asyncio.to_thread((folder / "purge.jsonl").open, "wb")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from acme_agent.cli import main; main()", "purge", "--json"),
        cwd=folder,
        env=os.environ
        | {"DATABASE_URL": url, "DOCS": str(EXAMPLES), "PYTHONPATH": os.pathsep.join(sys.path), **policy},
        stdout=out,
    )


def _settings(url: str, folder: Path, **policy: Any) -> AgentSettings:  # Any: values of the settings' fields
    return AgentSettings(_env_file=None, database_url=SecretStr(url), data_dir=folder, docs=EXAMPLES, **policy)


def _rows(url: str) -> int:
    return sum(int(_one(url, f"SELECT count(*) FROM {table}")) for table in TABLES)


def _one(url: str, query: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def _p99(found: list[float]) -> float:
    return quantiles(found, n=100, method="inclusive")[-1]


if __name__ == "__main__":
    main()
