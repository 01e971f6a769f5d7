"""Two processes post to one thread at the same moment, again and again: nothing is lost, nothing comes twice."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from acme_agent.agent import AgentSettings
from acme_agent.persistence import migrate, open_checkpointer, open_ledger

from .poster import THREAD

POSTER = Path(__file__).with_name("poster.py")
ROUNDS = {"postgres": 200, "dynamodb": 10}  # moto is slow


@contextmanager
def posters(url: str, mode: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Start the two, and end them."""
    started = [
        subprocess.Popen(
            [sys.executable, str(POSTER), url, name, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    try:
        for process in started:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.communicate()


@pytest.mark.parametrize("mode", ["enqueue", "reject", "interrupt"])
async def test_no_message_is_lost_or_doubled(
    agent_settings: AgentSettings, request: pytest.FixtureRequest, mode: str
) -> None:
    await migrate(agent_settings.migration_url, settings=agent_settings)
    backend = request.node.callspec.params["database_url"]
    said: list[dict[str, Any]] = []
    with posters(agent_settings.checkpoint_url, mode) as both:
        for number in range(ROUNDS.get(backend, 60)):
            for process in both:
                assert process.stdin
                process.stdin.write(f"{number}\n")
                process.stdin.flush()
            for process in both:
                assert process.stdout
                said.append(json.loads(process.stdout.readline()))
    accepted = Counter(line["message"] for line in said if line["accepted"])
    async with open_checkpointer(agent_settings.checkpoint_url, settings=agent_settings) as saver:
        head = await saver.aget_tuple({"configurable": {"thread_id": THREAD}})
        runs = await open_ledger(saver).newest(THREAD, 2 * len(said))
    assert head
    values = head.checkpoint["channel_values"]
    assert Counter(values["posted"]) == accepted
    statuses = Counter(run.status for run in runs)
    assert statuses.total() == accepted.total()
    if mode == "reject":
        assert 0 < accepted.total() <= len(said)
    else:
        assert accepted.total() == len(said)
    if mode == "interrupt":  # a run that was stopped may have worked once, or not at all
        assert statuses.keys() <= {"done", "cancelled"}
        assert 2 * statuses["done"] <= values["worked"] <= 2 * statuses["done"] + statuses["cancelled"]
    else:
        assert statuses.keys() == {"done"}
        assert values["worked"] == 2 * statuses["done"]
