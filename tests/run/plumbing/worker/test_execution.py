"""What a worker does with a run: in order, again after an error, not any more once it is cancelled or deleted."""

import signal
import time
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from acme_agent.worker import queue
from plumbing.worker.crew import Client, Crew, until


async def test_runs_of_a_thread_go_in_order(client: Client, crew: Crew, database: str) -> None:
    """Though two workers have room for all of them at once."""
    for worker in [crew.start(database) for _ in range(2)]:
        worker.ready()
    run_ids = [await client.submit("one", a={"sleep": 0.02}) for _ in range(8)]
    for run in run_ids:
        await client.until(run, "done")
    began = [line["run"] for line in crew.journal.lines() if (line["node"], line["what"]) == ("a", "began")]
    assert began == run_ids
    assert len(await client.log("one")) == 8 * 4


async def test_a_running_node_is_cancelled_at_once(client: Client, crew: Crew, database: str) -> None:
    worker = crew.start(database).ready()
    run = await client.submit("t", b={"sleep": 600})
    await until(lambda: crew.journal.count(run, "b") == 1)
    began = time.monotonic()
    await client.runs.cancel("t")
    await until(lambda: "is not ours any more" in worker.log.read_text(), within=5)
    assert time.monotonic() - began < 0.2
    after = await client.submit("t")
    await client.until(after, "done")
    assert (await client.run(run)).status == "cancelled"


async def test_an_error_is_tried_again_with_growing_pauses(client: Client, crew: Crew, database: str) -> None:
    crew.start(database).ready()
    run = await client.submit("t", b={"fail": 2})
    done = await client.until(run, "done")
    assert crew.journal.count(run, "a") == 1
    tries = [line["at"] for line in crew.journal.lines() if (line["node"], line["what"]) == ("b", "began")]
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert len(pauses) == 2
    assert pauses[0] > 0.5  # each at least half of what it may be: 1 and 2 seconds
    assert pauses[1] > 1.0
    assert done.error == ""


async def test_the_last_error_is_final(client: Client, crew: Crew, database: str) -> None:
    crew.start(database, RUN_RETRIES="1").ready()
    run = await client.submit("t", b={"fail": 99})
    failed = await client.until(run, "failed")
    assert failed.error == "RuntimeError: the provider is down"
    assert crew.journal.count(run, "b") == 2


async def test_what_a_person_has_to_mend_is_not_tried_again(client: Client, crew: Crew, database: str) -> None:
    crew.start(database).ready()
    run = await client.submit("t", b={"refuse": True})
    failed = await client.until(run, "failed")
    assert "mend the key" in failed.error
    assert crew.journal.count(run, "b") == 1


def test_pauses_grow_to_a_limit_and_spread() -> None:
    for retries, most in ((1, 1.0), (2, 2.0), (3, 4.0), (100, 300.0)):
        drawn = [queue.pause(retries) for _ in range(50)]
        assert most / 2 <= min(drawn)
        assert max(drawn) <= most
        assert len(set(drawn)) > 40


async def test_a_job_whose_run_is_deleted_does_nothing(
    client: Client, crew: Crew, database: str, connection: "psycopg.Connection[Any]"
) -> None:
    run = await client.submit("gone")
    await client.runs.delete("gone")
    assert connection.execute("SELECT args ->> 'run_id' FROM procrastinate_jobs").fetchall() == [(run,)]
    worker = crew.start(database).ready()
    after = await client.submit("t")
    await client.until(after, "done")
    assert crew.journal.count(run, "a") == 0
    assert "ERROR" not in worker.log.read_text().upper()
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0
    assert connection.execute("SELECT count(*) FROM procrastinate_jobs WHERE queue_name = 'runs'").fetchone() == (0,)


@pytest.mark.parametrize("extra", [1, 20])
async def test_a_job_too_many_does_nothing(client: Client, crew: Crew, database: str, extra: int) -> None:
    run = await client.submit("t", a={"sleep": 0.3})
    found = await client.run(run)
    for _ in range(extra):
        await client.runs.ledger.store.transaction(lambda transaction: queue.enqueue(transaction, found))
    crew.start(database).ready()
    await client.until(run, "done")
    assert {crew.journal.count(run, node) for node in "abcd"} == {1}
