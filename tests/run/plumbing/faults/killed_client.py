"""A program for `test_killed_clients`: processes that run threads, are killed at any moment, and go on.

`killed_client.py URL JOURNAL SEED THREAD...` forks them one after the other, because a fork is ready at once. The
journal gets one line for each thing that happens, written in one piece and not lost by a SIGKILL: what a node `ran`,
what the database had `kept` when a thread is taken up again, how it `ended`.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
import traceback
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

import acme_agent.persistence.postgres  # noqa: F401 - imported once, then forked
import psycopg
from acme_agent.persistence import open_checkpointer
from acme_agent.settings import Settings
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

AT_ONCE = 16  # runs
LONGEST_LIFE = 150  # lines of the journal, after which a process is killed at the latest
JITTER = 0.03  # seconds from the last of those lines to the kill, at most
PADDING = "x" * 2_000

# What the database has of each thread, by plain SQL: how many supersteps are over, and whose writes are kept.
KEPT = """
SELECT head.thread_id, (head.metadata ->> 'step')::int AS step,
    ARRAY(
        SELECT DISTINCT right(task_path, 2) FROM checkpoint_writes AS w
        WHERE w.thread_id = head.thread_id AND w.checkpoint_id = head.checkpoint_id
            AND w.channel = 'steps' AND right(task_path, 9) <> '__start__'
    ) AS written
FROM (
    SELECT DISTINCT ON (thread_id) thread_id, checkpoint_id, metadata
    FROM checkpoints WHERE checkpoint_ns = '' AND thread_id = ANY(%s)
    ORDER BY thread_id, checkpoint_id DESC
) AS head
"""
WARM: RunnableConfig = {"configurable": {"thread_id": "warm"}}
SUPERSTEPS = [["n1"], ["n2", "n3"], ["n4"]]


class Steps(TypedDict):
    """The nodes that ran, each with some text, so that the state is a blob."""

    steps: Annotated[list[str], add]


class Journal:
    """Lines that survive their process. Each one that tells of progress is a byte in a pipe, too."""

    def __init__(self, path: Path) -> None:
        """Open the file for appending."""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.progress, self._pipe = os.pipe()

    def note(self, what: str, thread: str = "", **more: object) -> None:
        """Append a line, in one write."""
        os.write(self._file, (json.dumps({"what": what, "thread": thread, **more}) + "\n").encode())
        if what in {"ran", "ended"}:
            os.write(self._pipe, b".")

    def wait(self, lines: int) -> None:
        """Return after so many lines of progress, or when the only process that writes them has ended."""
        os.close(self._pipe)
        while lines > 0 and (read := os.read(self.progress, lines)):
            lines -= len(read)


def graph(saver: BaseCheckpointSaver[str], journal: Journal) -> Any:
    """Return one node, two beside each other, and one (Any: LangGraph's generic of four types)."""

    def node(name: str) -> Any:
        async def run(_state: Steps, config: RunnableConfig) -> Steps:
            await asyncio.sleep(0.02 if name == "n3" else 0.002)  # n2 is stored while n3 is under way
            journal.note("ran", config["configurable"]["thread_id"], node=name)
            return {"steps": [name + PADDING]}

        return run

    builder = StateGraph(Steps)
    for name in ("n1", "n2", "n3", "n4"):
        builder.add_node(name, node(name))
    builder.add_edge(START, "n1")
    builder.add_edge("n1", "n2")
    builder.add_edge("n1", "n3")
    builder.add_edge(["n2", "n3"], "n4")
    return builder.compile(checkpointer=saver)


async def work(url: str, journal: Journal, threads: list[str]) -> None:
    """Bring the threads to their ends, each from where the database has it."""
    with psycopg.connect(url) as connection:
        kept = {thread: (step, written) for thread, step, written in connection.execute(KEPT, [threads])}
    for thread, (step, written) in kept.items():
        over = [node for nodes in SUPERSTEPS[: max(0, step)] for node in nodes]
        journal.note("kept", thread, nodes=sorted({*over, *written}))
    settings = Settings(_env_file=None, database_pool_max=4)
    places = asyncio.Semaphore(AT_ONCE)
    async with open_checkpointer(url, settings=settings) as saver:
        compiled = graph(saver, journal)

        async def run(thread: str) -> None:
            async with places:
                config: RunnableConfig = {"configurable": {"thread_id": thread}}
                payload: Steps | None = None if thread in kept else {"steps": []}
                result = await compiled.ainvoke(payload, config, durability="sync")
                journal.note("ended", thread, steps=[step.removesuffix(PADDING) for step in result["steps"]])

        await asyncio.gather(*(run(thread) for thread in threads))


def live(url: str, path: Path, threads: list[str], chance: random.Random) -> None:
    """Fork a process that works on the threads, and kill it unless it comes to their ends before."""
    journal = Journal(path)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(journal.progress)
            asyncio.run(work(url, journal, threads))
            status = 0
        except Exception:  # noqa: BLE001 - a fork must not go on as its parent, whatever happens
            traceback.print_exc()
        finally:
            os._exit(status)
    journal.wait(chance.randint(1, LONGEST_LIFE))
    time.sleep(chance.uniform(0, JITTER))
    os.kill(pid, signal.SIGKILL)  # it may have ended; until it is waited for, its id is not another's
    _, status = os.waitpid(pid, 0)
    os.close(journal.progress)  # not before: a pipe without a reader would end the process by itself
    if os.WIFSIGNALED(status):
        journal.note("killed")
    elif status:
        sys.exit("a process failed by itself")


def main(url: str, path: Path, seed: int, threads: list[str]) -> None:
    """Let processes live, one after the other, until every thread has come to its end."""
    chance = random.Random(seed)
    asyncio.run(
        graph(InMemorySaver(), Journal(Path(os.devnull))).ainvoke({"steps": []}, WARM)
    )  # LangGraph imports late
    while threads:
        live(url, path, threads, chance)
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        ended = {line["thread"] for line in lines if line["what"] == "ended"}
        threads = [thread for thread in threads if thread not in ended]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
