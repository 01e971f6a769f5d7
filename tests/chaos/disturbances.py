"""What goes wrong, at random: processes die, freeze and are stopped, the database restarts, notices are lost."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psycopg
from acme_agent.readiness.servers.postgres_programs import unprivileged_account

_SERVER = """
SELECT
    (SELECT setting FROM pg_config() WHERE name = 'BINDIR'),
    current_setting('data_directory'),
    current_setting('port'),
    current_setting('unix_socket_directories')
"""
_LISTENERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"


class Workers:
    """Worker processes; one that ends is started again, as a supervisor does."""

    def __init__(self, number: int, environment: Mapping[str, str], log: Path) -> None:
        """Start so many."""
        self._environment = {**os.environ, **environment}
        self._log = log
        self._frozen: set[int] = set()
        self.all = [self._start() for _ in range(number)]

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "chaos.worker_main", "worker", "--concurrency", "20"]
            return subprocess.Popen(command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def revive(self) -> int:
        """Start again those that have ended; return how many that were."""
        ended = [number for number, worker in enumerate(self.all) if worker.poll() is not None]
        for number in ended:
            self.all[number] = self._start()
        return len(ended)

    def awake(self) -> list[subprocess.Popen[bytes]]:
        """Return those that live and are not frozen."""
        return [worker for worker in self.all if worker.poll() is None and worker.pid not in self._frozen]

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """End one without a word."""
        worker.kill()
        worker.wait()

    async def freeze(self, worker: subprocess.Popen[bytes], seconds: float) -> None:
        """Stop one for so long; it knows of nothing."""
        self._frozen.add(worker.pid)
        worker.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            worker.send_signal(signal.SIGCONT)
            self._frozen.discard(worker.pid)

    def stop(self) -> None:
        """End all of them."""
        for worker in self.all:
            if worker.poll() is None:
                worker.kill()
        for worker in self.all:
            worker.wait()


class Database:
    """The server, which restarts."""

    def __init__(self, admin_url: str) -> None:
        """Look where it lives."""
        self._admin_url = admin_url
        with psycopg.connect(admin_url) as connection:
            found = connection.execute(_SERVER).fetchone()
        assert found
        self._programs, self._data, self._port, self._sockets = map(str, found)

    def restart(self, mode: Literal["fast", "immediate"]) -> None:
        """Return when it takes connections again."""
        options = f"-h 127.0.0.1 -p {self._port} -k {self._sockets} -F -c full_page_writes=off"
        subprocess.run(
            [
                *(f"{self._programs}/pg_ctl", "-D", self._data, "-s", "-w", "-m", mode),
                *("-l", f"{self._data}/../log", "-o", options, "restart"),
            ],
            cwd="/",
            stdin=subprocess.DEVNULL,
            check=True,
            start_new_session=True,
            **unprivileged_account()._asdict(),
        )

    def cut_listeners(self) -> None:
        """End the connections over which notices come."""
        with suppress(psycopg.Error), psycopg.connect(self._admin_url, autocommit=True) as connection:
            connection.execute(_LISTENERS)


async def disturb(
    workers: Workers, database: Database, dice: random.Random, seconds: float, *, lease: float, pause: float
) -> Counter[str]:
    """Let something happen every few seconds, and return how often what did. One worker at least is left in peace."""
    happened: Counter[str] = Counter()
    frozen: list[asyncio.Task[None]] = []
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    kinds: Sequence[str] = ["kill"] * 5 + ["freeze"] * 2 + ["stop"] * 3 + ["restart", "crash"] + ["lost notices"] * 2
    while loop.time() < end:
        await asyncio.sleep(dice.uniform(0.5, 1.5) * pause)
        happened["started again"] += workers.revive()
        kind = dice.choice(kinds)
        awake = workers.awake()
        if kind in {"kill", "freeze", "stop"} and len(awake) < 2:
            continue
        happened[kind] += 1
        match kind:
            case "kill":
                workers.kill(dice.choice(awake))
            case "stop":
                dice.choice(awake).terminate()
            case "freeze":
                frozen.append(asyncio.create_task(workers.freeze(dice.choice(awake), lease * dice.uniform(1.1, 1.4))))
            case "restart" | "crash":
                await asyncio.to_thread(database.restart, "fast" if kind == "restart" else "immediate")
            case "lost notices":
                await asyncio.to_thread(database.cut_listeners)
    await asyncio.gather(*frozen)
    happened["started again"] += workers.revive()
    return happened
