"""Worker processes, a client that submits runs, and waiting for what they do."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from acme_agent.agent.offline_scenarios import EXAMPLES
from acme_agent.persistence import Run
from acme_agent.runs import Runs

from .worker_process import Journal

PROGRAM = Path(__file__).with_name("worker_process.py")
PATIENCE = 60.0  # seconds


class Worker:
    """A worker process."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self.process = process
        self.pid = process.pid
        self.log = log

    def ready(self) -> "Worker":
        """Return when it takes runs."""
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n", self.log.read_text()
        return self

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def ended(self, within: float = PATIENCE) -> int:
        """Return its exit code, once it has ended."""
        return self.process.wait(within)


class Crew:
    """Starts workers on a database, and ends those that are left."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "journal.jsonl")
        self._folder = folder
        self._workers: list[Worker] = []

    def start(
        self,
        url: str,
        *,
        concurrency: int = 20,
        example: bool = False,
        constants: dict[str, Any] | None = None,
        **env: str,
    ) -> Worker:
        """Start a worker; `ready()` waits until it takes runs. `constants` and `env` change what it does."""
        told: dict[str, Any] = {"concurrency": concurrency, "constants": constants or {}}
        if not example:
            told["journal"] = str(self.journal.path)
        given = {"DATABASE_URL": url, "DATA_DIR": str(self._folder), "DOCS": str(EXAMPLES), "LOG_LEVEL": "INFO"}
        log = self._folder / f"worker-{len(self._workers)}.log"
        errors: IO[str] = log.open("w")
        with errors:
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), json.dumps(told)],
                env=os.environ | given | env,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._workers.append(Worker(process, log))
        return self._workers[-1]

    def killed(self) -> int:
        """Return how many have been killed. It also takes note of their deaths, as a supervisor does."""
        return sum(worker.process.poll() == -signal.SIGKILL for worker in self._workers)

    def end(self) -> None:
        """Kill all that live."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.wait()
            assert worker.process.stdout
            worker.process.stdout.close()


class Client:
    """Submits runs, as a service would, and waits for them."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs

    async def submit(self, thread: str, **orders: dict[str, Any]) -> str:
        """Put a run with orders for its nodes into the queue and return its id."""
        return (await self.runs.start({"orders": orders}, thread=thread, queue=True)).run_id

    async def run(self, run: str) -> Run:
        """Return the run as it is."""
        found = await self.runs.ledger.find(run)
        assert found
        return found

    async def until(self, run: str, *statuses: str, within: float = PATIENCE) -> Run:
        """Return the run once it has one of these statuses."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            seen = self.runs.ledger.store.ticks
            found = await self.run(run)
            if found.status in statuses:
                return found
            await self.runs.ledger.store.changes(seen, 0.05)
        raise AssertionError(f"run {run} is not {statuses} after {within} s: {found}")

    async def log(self, thread: str) -> list[str]:
        """Return what the nodes wrote into the thread."""
        log: list[str] = (await self.runs.status(thread)).values["log"]
        return log


async def until(condition: Callable[[], Any], within: float = PATIENCE) -> Any:
    """Return what the condition returns once that is true."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := condition():
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("it has not happened")
