"""What goes wrong, at random: processes die, freeze and are stopped, the database restarts, notices are lost."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from .database import Database


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


async def disturb(
    workers: Workers, database: Database, dice: random.Random, seconds: float, *, lease: float, pause: float
) -> Counter[str]:
    """Let something happen every few seconds, and return how often what did. One worker at least is left in peace."""
    happened: Counter[str] = Counter()
    frozen: list[asyncio.Task[None]] = []
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    kinds: Sequence[str] = ["kill"] * 5 + ["freeze"] * 2 + ["stop"] * 3 + [*database.kinds]
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
