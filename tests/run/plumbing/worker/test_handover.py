"""What becomes of a run when its worker stops, or is killed: another one goes on with it."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from acme_agent.agent import AgentSettings, scenarios
from acme_agent.agent.offline_scenarios import EXAMPLES
from acme_agent.runs import open_runs
from plumbing.worker.crew import Client, Crew, until
from plumbing.worker.worker_process import NODES

JOBS = "SELECT count(*) FROM procrastinate_jobs WHERE queue_name = 'runs'"


async def test_runs_are_executed_and_leave_no_job(
    client: Client, crew: Crew, database: str, connection: "psycopg.Connection[Any]"
) -> None:
    """Pitfalls 1 and 12. Without a notice a job would wait for the next look, which is far away here."""
    crew.start(database, constants={"worker.process.POLL": 600.0}).ready()
    for number in range(5):
        began = time.monotonic()
        run = await client.submit(f"t{number}")
        await client.until(run, "done", within=30)
        assert crew.journal.lines()[-4]["at"] > began
    assert await client.log("t0") == [*NODES]
    await until(lambda: connection.execute(JOBS).fetchone() == (0,))


async def test_examples_survive_a_killed_worker(
    open_client: Callable[..., Any], crew: Crew, database: str, tmp_path: Path
) -> None:
    """40 runs with approvals, two workers, one of them killed: every state is what an undisturbed run ends with."""
    chosen = [scenario for scenario in scenarios() if scenario.name != "long-conversation"]
    expected = {}
    settings = AgentSettings(_env_file=None, data_dir=tmp_path / "alone", docs=EXAMPLES)
    async with open_runs(settings) as alone:
        for scenario in chosen:
            status = await alone.start(scenario.input, thread=scenario.name)
            while status.condition == "waiting":
                status = await alone.answer(scenario.name, "yes")
            expected[scenario.name] = (status.condition, status.values["answer"], status.values["verdict"])

    client: Client = await open_client(database, example=True)
    doomed, other = (crew.start(database, concurrency=4, example=True) for _ in range(2))
    doomed.ready()
    other.ready()
    names = {f"{chosen[number % len(chosen)].name}-{number}": chosen[number % len(chosen)] for number in range(40)}
    for thread, scenario in names.items():
        await client.runs.start(scenario.input, thread=thread, queue=True)

    def held() -> bool:
        with psycopg.connect(database) as looking:
            query = "SELECT count(*) FROM agent_runs WHERE status = 'running' AND split_part(holder, '/', 2) = %s"
            return looking.execute(query, (str(doomed.pid),)).fetchone() != (0,)

    await until(held)
    doomed.signal(signal.SIGKILL)
    assert doomed.ended() == -signal.SIGKILL
    for thread, scenario in names.items():
        status = await client.runs.status(thread)
        assert status.run
        while (await client.until(status.run.run_id, "done", "failed", "waiting")).status == "waiting":
            await client.runs.answer(thread, "yes", queue=True)
        status = await client.runs.status(thread)
        found = (status.condition, status.values["answer"], status.values["verdict"])
        assert found == expected[scenario.name], thread


async def test_a_silent_workers_run_goes_on_within_25_seconds(
    client: Client, crew: Crew, database: str, tmp_path: Path
) -> None:
    """At the default settings, and with nothing but silence to tell: a frozen process is as good as a lost machine."""
    gate = tmp_path / "gate"
    first = crew.start(database).ready()
    run = await client.submit("t", b={"wait": str(gate)})
    await until(lambda: crew.journal.count(run, "b") == 1)
    second = crew.start(database).ready()
    first.signal(signal.SIGSTOP)
    gate.touch()
    done = await client.until(run, "done", within=25)
    assert str(second.pid) in done.holder


async def test_stopping_hands_over_at_the_superstep(client: Client, crew: Crew, database: str, tmp_path: Path) -> None:
    """Another worker goes on within a second after the superstep's end, and no node runs twice."""
    gate = tmp_path / "gate"
    first = crew.start(database).ready()
    run_ids = [await client.submit(f"t{number}", b={"wait": str(gate)}) for number in range(6)]
    await until(lambda: all(crew.journal.count(run, "b") for run in run_ids))
    second = crew.start(database).ready()
    first.signal(signal.SIGTERM)
    await until(lambda: "Waiting for job to finish" in first.log.read_text())
    gate.touch()
    assert first.ended() == 0
    for run in run_ids:
        await client.until(run, "done")
    lines = crew.journal.lines()
    began = Counter((line["run"], line["node"]) for line in lines if line["what"] == "began")
    assert (len(began), set(began.values())) == (6 * 4, {1})
    for run in run_ids:
        mine = [line for line in lines if line["run"] == run]
        assert [line["pid"] for line in mine] == [first.pid] * 4 + [second.pid] * 4
        assert mine[4]["at"] - mine[3]["at"] < 1.0


async def test_what_outlasts_the_grace_is_cut_off_and_goes_on_at_once(
    client: Client, crew: Crew, database: str
) -> None:
    first = crew.start(database, constants={"worker.process.GRACE": 0.3}).ready()
    run = await client.submit("t", b={"sleep": 600})
    await until(lambda: crew.journal.count(run, "b") == 1)
    first.signal(signal.SIGINT)
    assert first.ended() == 0
    handed = await client.run(run)
    assert (handed.status, handed.crashes, handed.retries) == ("queued", 0, 0)
    crew.start(database).ready()
    await until(lambda: crew.journal.count(run, "b") == 2, within=5)
    assert crew.journal.count(run, "a") == 1


async def test_a_run_that_kills_its_workers_is_parked(client: Client, crew: Crew, database: str) -> None:
    """With its history in the audit; the others go on."""
    workers = [crew.start(database) for _ in range(4)]
    for worker in workers:
        worker.ready()
    bad = await client.submit("bad", b={"kill": 99})
    good = [await client.submit(f"good{number}", c={"sleep": 0.2}) for number in range(10)]
    await until(lambda: crew.killed() == 3)
    failed = await client.until(bad, "failed")
    assert "died 3 times" in failed.error
    kinds = Counter(entry.kind for entry in await client.runs.ledger.audit("bad"))
    assert (kinds["crashed"], kinds["parked"]) == (3, 1)
    assert crew.killed() == 3
    for run in good:
        await client.until(run, "done")
