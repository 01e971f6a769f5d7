"""Two releases at work at the same time, and a process that dies as it migrates."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from acme_agent.agent import AgentSettings
from acme_agent.runs import Incompatible

from .conftest import Nodes, Open, Text, Texts, listed, log, migrated, row


async def test_older_release_leaves_a_migrated_thread_alone(opened: Open, release: Callable[..., None]) -> None:
    """As it happens in a roll-out: it would store the old form over the new one."""
    nodes = Nodes()
    old = await opened(row(Text, ask=nodes.asking("ask"), more=nodes.asking("more")))
    await old.start({"log": [], "topic": "x"}, thread="t")
    release(state={1: listed})
    new = await opened(row(Texts, ask=nodes.asking("ask"), more=nodes.asking("more")))
    await new.answer("t", "yes")
    release()
    with pytest.raises(Incompatible, match="from a newer release"):
        await (await opened(row(Text, ask=nodes.asking("ask"), more=nodes.asking("more")))).answer("t", "yes")
    release(state={1: listed})
    await new.resume("t")
    assert (await new.answer("t", "yes")).values["topic"] == ["x"]


async def test_worker_of_an_older_release_leaves_the_run_to_the_newer_one(
    opened: Open, release: Callable[..., None]
) -> None:
    """However often it meets it: a roll-out, or what comes after one that failed, may take its time."""
    nodes = Nodes()
    release(state={1: listed})
    new = await opened(row(Texts, ask=nodes.asking("ask"), more=nodes.asking("more")))
    run = (await new.start({"log": [], "topic": ["x"]}, thread="t")).run_id
    await new.answer("t", "yes", queue=True)
    release()
    old = await opened(row(Text, ask=nodes.asking("ask"), more=nodes.asking("more")))
    for attempt in range(old.settings.run_retries + 2):
        with pytest.raises(Incompatible, match="from a newer release"):
            await old.execute(run, retry=True)
        [found] = await old.ledger.line("t")
        assert (found.status, found.retries, "newer release" in found.error) == ("queued", attempt + 1, True)
    release(state={1: listed})
    settled = await new.execute(run, retry=True)
    assert settled
    assert settled.status == "waiting"


_VICTIM = """
import asyncio, os, signal, sys
from typing import Annotated, TypedDict
from operator import add
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from acme_agent.agent import AgentSettings, migrations
from acme_agent.persistence import open_checkpointer, open_ledger
from acme_agent.runs import Runs, compatibility

class State(TypedDict, total=False):
    log: Annotated[list[str], add]
    topic: Annotated[list[str], add]

async def approve(state):
    return {"log": [f"approve: {interrupt('?')}"]}

store = compatibility._Fitting._store

async def dying(*arguments):
    if sys.argv[1] == "after":
        await store(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    migrations.RENAMED["ask"] = "approve"
    migrations.STATE[1] = lambda state: {"topic": [state["topic"]]} if "topic" in state else {}
    compatibility._Fitting._store = dying
    settings = AgentSettings()
    async with open_checkpointer(settings.checkpoint_url, settings=settings) as saver:
        graph = StateGraph(State).add_node("approve", approve).add_edge(START, "approve").compile(checkpointer=saver)
        async with Runs(graph, settings, open_ledger(saver)) as runs:
            await runs.answer("t", "yes")

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["before", "after"])
async def test_process_that_dies_around_the_migration_leaves_it_done_or_not(
    opened: Open, release: Callable[..., None], agent_settings: AgentSettings, when: str
) -> None:
    nodes = Nodes()
    old = await opened(row(Text, ask=nodes.asking("ask")))
    await old.start({"log": [], "topic": "x"}, thread="t")
    environment = {"DATABASE_URL": agent_settings.checkpoint_url, "DATA_DIR": str(agent_settings.data_dir)}
    died = subprocess.run(  # noqa: ASYNC221 - nothing else is to happen meanwhile
        [sys.executable, "-c", _VICTIM, when], env={**os.environ, **environment}, check=False
    )
    assert died.returncode == -signal.SIGKILL
    release(renamed={"ask": "approve"}, state={1: listed})
    new = await opened(row(Texts, approve=nodes.asking("approve")))
    [head] = await new.history("t", limit=1)
    assert head.values["topic"] == ("x" if when == "before" else ["x"])
    assert (await new.status("t")).condition == "unfinished"
    [asked] = (await new.resume("t")).questions
    assert asked.node == "approve"
    done = await new.answer("t", "yes")
    assert (done.values["topic"], log(done)) == (["x"], ["approve: yes"])
    assert len(set(await migrated(new))) == 1
    assert len(await migrated(new)) == (2 if when == "before" else 1)
