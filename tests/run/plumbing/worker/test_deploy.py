"""What deploy/ asks of a worker and of its queue, asked of real ones: the probes, and the query of the autoscaler."""

import asyncio
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg
from acme_agent.worker.process import ALIVE
from plumbing.worker.crew import Client, Crew, until

DEPLOY = Path(__file__).parents[3] / "deploy"
DATA_DIR = "/app/.data"  # of the image
OFTEN = 0.1  # seconds between two touches


def healthy(folder: Path) -> bool:
    """Do what the kubelet does, with the command of the manifest's probes, on a worker whose DATA_DIR is the folder."""
    text = (DEPLOY / "worker-deployment.yaml").read_text()
    startup, liveness = re.findall(r"command: \[sh, -c, '(.+)'\]", text)
    assert startup == liveness
    assert DATA_DIR in liveness
    return subprocess.run(["sh", "-c", liveness.replace(DATA_DIR, str(folder))], check=False).returncode == 0


async def test_a_probe_passes_while_the_event_loop_turns(client: Client, crew: Crew, database: str) -> None:
    folder = crew.journal.path.parent
    assert not healthy(folder), "nothing has begun"
    crew.start(database, constants={"worker.process.TOUCH": OFTEN}).ready()
    await until(lambda: healthy(folder))

    gate = folder / "go"
    run = await client.submit("t", b={"block": str(gate)})
    await until(lambda: crew.journal.count(run, "b") == 1)
    os.utime(folder / ALIVE, times=(time.time() - 61,) * 2)
    await asyncio.sleep(5 * OFTEN)  # time enough for a loop that turns
    assert not healthy(folder)
    gate.touch()
    await until(lambda: healthy(folder))


async def test_the_autoscaler_counts_what_waits_and_what_is_at_work(
    client: Client, connection: "psycopg.Connection[Any]"
) -> None:
    text = (DEPLOY / "worker-scaledobject.yaml").read_text()
    (query,) = re.findall(r"query: >-\n(.+?)\n +targetQueryValue", text, re.DOTALL)
    run_ids = [await client.submit(f"t{number}") for number in range(6)]
    assert await client.runs.execute(run_ids[0])  # by somebody else: its job has still to be looked at
    set_ = "UPDATE procrastinate_jobs SET {} WHERE args ->> 'run_id' = %s"
    connection.execute(set_.format("scheduled_at = now() + interval '1 minute'"), (run_ids[1],))
    connection.execute(set_.format("scheduled_at = now() - interval '1 minute'"), (run_ids[2],))
    connection.execute(set_.format("status = 'doing'"), (run_ids[3],))
    connection.execute(set_.format("queue_name = 'maintenance'"), (run_ids[4],))
    assert connection.execute(query).fetchone() == (4,)
