"""`doctor --thread` names why a thread does not go on; each cause is brought about for real."""

from __future__ import annotations  # Shell has a name for mypy only

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from acme_agent.agent import AgentSettings, State, new_input
from acme_agent.persistence import open_checkpointer, open_ledger
from acme_agent.runs import NodeStarted, Runs, open_runs
from langgraph.graph import START, StateGraph

if TYPE_CHECKING:
    import subprocess

    from plumbing.conftest import Shell  # tests are not a package: nothing can be imported from there
    from plumbing.diagnosis.conftest import Doctor

QUESTION = "How many books may a member borrow?"
PATIENCE = 30.0  # seconds

Client = Callable[..., "subprocess.Popen[str]"]


def in_runs(settings: AgentSettings, act: Callable[[Runs], Any]) -> Any:  # Any: what `act` returns
    """Do something as a process of its own would."""

    async def opened() -> Any:
        async with open_runs(settings) as runs:
            return await act(runs)

    return asyncio.run(opened())


def test_it_waits_for_an_answer(server: Shell, doctor: Doctor, connection: psycopg.Connection[Any]) -> None:
    assert server("run", QUESTION, "--approve", "--thread-id", "t") == 3
    level, text = doctor.cause("t")
    assert level == "warning"
    row = connection.execute("SELECT question_id FROM agent_questions").fetchone()
    assert row
    assert re.match(rf"waits for an answer since \d s: question {row[0]} of node approve, open until ", text)
    assert "acme-agent answer t" in text
    connection.execute("UPDATE agent_questions SET until = now() - interval '1 hour'")
    assert "its time is over; the next purge, or a worker, does what APPROVAL_EXPIRY says" in doctor.cause("t")[1]


def test_its_holder_has_died(server: Shell, doctor: Doctor, client: Client, database: str) -> None:
    process = client("t", database)
    level, text = doctor.cause("t")
    assert (level, text.partition(":")[0]) == ("ok", "at work")
    assert f"process {process.pid} on " in text
    assert "It is at plan" in text
    process.kill()
    process.wait()
    level, text = doctor.cause("t")
    assert level == "wrong"
    assert f"its holder is gone: process {process.pid} on " in text
    assert "has died, in attempt 1" in text
    assert "acme-agent resume t" in text
    (finding,) = doctor()["abandoned runs"]
    assert "1 (threads t)" in finding["text"]


def test_its_holder_is_frozen(
    server: Shell, doctor: Doctor, client: Client, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = client("t", database)
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr("acme_agent.runs.status.LEASE", 0.5)  # seconds; nobody wants to wait for 20
    deadline = time.monotonic() + PATIENCE
    while (found := doctor.cause("t"))[0] == "ok":
        assert time.monotonic() < deadline
    assert found[0] == "wrong"
    assert f"process {process.pid} on " in found[1]
    assert "dead, frozen, or cut off" in found[1]


def test_it_is_queued_behind_a_run_that_waits(server: Shell, doctor: Doctor, agent_settings: AgentSettings) -> None:
    async def start(runs: Runs) -> Any:
        later: list[asyncio.Task[Any]] = []

        def listener(event: object) -> None:
            if isinstance(event, NodeStarted) and not later:
                later.append(asyncio.create_task(runs.start(new_input(QUESTION), thread="t", queue=True)))

        await runs.start(new_input(QUESTION, approval=True), thread="t", listener=listener)
        return (await later[0]).run_id

    second = in_runs(agent_settings, start)
    found = doctor("--thread", "t")
    assert "waits for an answer" in found["cause"][0]["text"]
    (behind,) = found["queued behind"]
    assert behind["level"] == "warning"
    assert behind["text"].startswith("1 runs wait for run ")
    assert second in behind["text"]


@pytest.fixture
def failing(agent_settings: AgentSettings) -> Callable[[], None]:
    """Return a function that has a worker's run fail three times, with an error that a retry may mend."""

    async def fail(state: State) -> dict[str, Any]:
        raise RuntimeError("the model is away")

    async def act() -> None:
        async with open_checkpointer(agent_settings.checkpoint_url, settings=agent_settings) as saver:
            graph: Any = StateGraph(State, context_schema=AgentSettings)  # Any: a graph with a node of ours
            graph.add_node("fail", fail)
            graph.add_edge(START, "fail")
            from acme_agent.worker.queue import enqueue  # a project may do without that room

            async with Runs(graph.compile(checkpointer=saver), agent_settings, open_ledger(saver, enqueue)) as runs:
                run = (await runs.start(new_input(QUESTION), thread="t", queue=True)).run_id
                for _ in range(3):
                    with psycopg.connect(agent_settings.checkpoint_url, autocommit=True) as connection:
                        connection.execute("DELETE FROM procrastinate_jobs")  # as the worker that takes it does
                    with pytest.raises(RuntimeError):
                        await runs.execute(run, retry=True)

    return lambda: asyncio.run(act())


def test_it_is_tried_again_later(server: Shell, doctor: Doctor, failing: Callable[[], None]) -> None:
    failing()
    level, text = doctor.cause("t")
    assert level == "warning"
    assert "retries: put back after an error (3 of RUN_RETRIES=3): RuntimeError: the model is away" in text
    assert "Its turn comes in " in text


def test_no_worker_is_alive(
    server: Shell, doctor: Doctor, agent_settings: AgentSettings, connection: psycopg.Connection[Any]
) -> None:
    in_runs(agent_settings, lambda runs: runs.start(new_input(QUESTION), thread="t", queue=True))
    level, text = doctor.cause("t")
    assert level == "ok"  # it has only just been accepted
    connection.execute("UPDATE agent_runs SET changed_at = changed_at - interval '1 minute'")
    level, text = doctor.cause("t")
    assert level == "wrong"
    assert re.match(r"queued for 6\d s; no worker is alive\. Start one: acme-agent worker; ", text)
    found = doctor()
    assert "none is alive; 1 jobs wait" in found["workers"][0]["text"]
    assert "1 (threads t): queued, and nobody begins them" in found["stranded runs"][0]["text"]

    connection.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '5 minutes')")
    assert "no worker is alive (the last sign of life is 5 min old)" in doctor.cause("t")[1]
    connection.execute("UPDATE procrastinate_workers SET last_heartbeat = now()")
    assert "its job is todo, and 1 wait for 1 workers" in doctor.cause("t")[1]
    connection.execute("DELETE FROM procrastinate_jobs")
    assert "1 workers are alive, and it has no job" in doctor.cause("t")[1]
    assert doctor()["workers"][0]["text"] == "1 alive, 0 silent; 0 jobs wait"


def test_a_file_has_no_queue(shell: Shell, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acme_agent.diagnosis.queued.STRANDED", 0.0)
    settings = AgentSettings(_env_file=None)
    in_runs(settings, lambda runs: runs.start(new_input(QUESTION), thread="t", queue=True))
    level, text = doctor.cause("t")
    assert level == "wrong"
    assert "this database has no queue" in text
    assert shell("resume", "t") == 0


READS = "LOCK TABLE agent_runs IN ACCESS EXCLUSIVE MODE"  # keeps even readers out


@pytest.mark.parametrize("lock", ["SELECT 1 FROM agent_runs FOR UPDATE", "LOCK TABLE checkpoints IN SHARE MODE", READS])
def test_a_session_locks_it_out(
    server: Shell, doctor: Doctor, database: str, lock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server("run", QUESTION, "--approve", "--thread-id", "t") == 3
    monkeypatch.setenv("DATABASE_TIMEOUT", "3")
    with psycopg.connect(database, application_name="a forgotten psql") as session:
        session.execute(lock)
        found = doctor("--thread", "t")
        (text,) = [finding["text"] for finding in found["lock"]]
        assert f"process {session.info.backend_pid} (a forgotten psql, idle in transaction" in text
        assert f"SELECT pg_terminate_backend({session.info.backend_pid});" in text
        assert ("cause" in found) == (lock != READS)
        assert ("thread" in found) == (lock == READS)
    assert "lock" not in doctor("--thread", "t")


def test_the_clock_was_set_back(
    server: Shell, doctor: Doctor, client: Client, database: str, connection: psycopg.Connection[Any]
) -> None:
    """A standby whose clock is an hour behind takes over: the dead holder's sign of life is in the future."""
    process = client("t", database)
    process.kill()
    process.wait()
    connection.execute("UPDATE agent_runs SET beat_at = now() + interval '1 hour', holder = 'elsewhere/1/1'")
    level, text = doctor.cause("t")
    assert level == "wrong"
    assert "has times that are 60 min in the database's future" in text


def test_it_has_failed_or_is_done(server: Shell, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    server("run", QUESTION, "--thread-id", "done")
    assert doctor.cause("done")[1].startswith("nothing is left to do")
    monkeypatch.setenv("MODEL", "scripted:never-satisfied")
    assert server("run", QUESTION, "--thread-id", "failed") == 1
    level, text = doctor.cause("failed")
    assert level == "wrong"
    assert "not approved after 3 revisions" in text
    monkeypatch.delenv("MODEL")
    server("run", QUESTION, "--approve", "--thread-id", "cancelled")
    server("cancel", "cancelled")
    assert "cancelled by " in doctor.cause("cancelled")[1]
