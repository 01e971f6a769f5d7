"""What the queue and its workers cost: runs a second, and the memory of runs that wait in their nodes.

python -m bench.workers throughput    two workers execute runs of four nodes that do nothing
python -m bench.workers memory        one worker holds 2,000 runs in nodes that sleep
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, LiteralString, TypedDict

import psycopg
from acme_agent.agent import AgentSettings
from acme_agent.persistence import migrate
from acme_agent.readiness.servers.postgres_server import create_database
from acme_agent.runs import Runs, open_runs, opening
from acme_agent.worker.process import work
from langgraph.graph import START, StateGraph
from pydantic import SecretStr

from bench.server import durable_server

WORKERS = 2
CLIENTS = 16  # submissions under way at once
IDLE = 10.0  # seconds for which a worker full of sleeping runs is watched

FINISHED = """
SELECT
    count(*) AS runs,
    percentile_cont(0.9) WITHIN GROUP (ORDER BY at) - percentile_cont(0.1) WITHIN GROUP (ORDER BY at) AS seconds
FROM (SELECT extract(epoch FROM changed_at)::float8 AS at FROM agent_runs WHERE status = 'done') AS ended
"""
LEFT = "SELECT count(*) FROM agent_runs WHERE status IN ('queued', 'running')"
RUNNING = "SELECT count(*) FROM agent_runs WHERE status = 'running'"


class State(TypedDict, total=False):
    """A number, and how long the first node sleeps."""

    number: int
    sleep: float


async def _nothing(_: State) -> State:
    return {"number": 1}


async def _sleep(state: State) -> State:
    await asyncio.sleep(state.get("sleep", 0))
    return {"number": 1}


def build_graph() -> Any:  # Any: another state than the agent's
    """Return four nodes in a row."""
    graph: Any = StateGraph(State)
    graph.add_node("a", _sleep)
    for before, name in zip("abc", "bcd", strict=True):
        graph.add_node(name, _nothing)
        graph.add_edge(before, name)
    return graph.add_edge(START, "a")


def settings(url: str) -> AgentSettings:
    """Return the defaults, on a database."""
    return AgentSettings(_env_file=None, database_url=SecretStr(url), data_dir=Path(tempfile.gettempdir()))


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Runs]:
    """Yield what submits runs of the measured graph."""
    setattr(opening, "build_graph", build_graph)  # noqa: B010 - it is no name that the module exports
    async with open_runs(settings(url)) as runs:
        yield runs


async def submit(runs: Runs, count: int, **given: Any) -> float:  # Any: values of the state
    """Put so many runs into the queue and return the seconds that it took."""
    began, left = perf_counter(), iter(range(count))

    async def one_after_the_other() -> None:
        for number in left:
            await runs.start({"number": 0, **given}, thread=f"t{number}-{os.getpid()}", queue=True)

    await asyncio.gather(*(one_after_the_other() for _ in range(CLIENTS)))
    return perf_counter() - began


@contextmanager
def worker(url: str, concurrency: int) -> Iterator["subprocess.Popen[str]"]:
    """Yield a worker process that takes runs."""
    command = [sys.executable, "-m", "bench.workers", "worker", "--url", url, "--concurrency", str(concurrency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()  # a worker full of sleeping runs would wait for them


async def measure_throughput(url: str, count: int, concurrency: int) -> None:
    """Measure runs that were there before, and runs that come while others are executed."""
    async with client(url) as runs:
        with psycopg.connect(url, autocommit=True) as connection, ExitStack() as stack:
            seconds = await submit(runs, count)
            print(f"accepted: {count / seconds:.0f} runs/s by one process, with their jobs")
            server = Processes([connection.info.backend_pid], parents=True)
            workers = Processes([stack.enter_context(worker(url, concurrency)).pid for _ in range(WORKERS)])
            began = workers.cpu(), server.cpu()
            await _until(connection, LEFT, 0)
            number, seconds = connection.execute(FINISHED).fetchone() or (0, 0.0)
            what = f"executed from a full queue by {WORKERS} workers"
            _print(what, 0.8 * number / seconds, _used(count, began, workers, server))
            connection.execute("DELETE FROM agent_runs")
            began, own, clock = (workers.cpu(), server.cpu()), process_time(), perf_counter()
            await submit(runs, count)
            await _until(connection, LEFT, 0)
            rate = count / (perf_counter() - clock)
            _print("accepted and executed at the same time", rate, _used(count, began, workers, server))
            print(f"    and the client {(process_time() - own) / count * 1000:.1f} ms of CPU a run")


async def measure_memory(url: str, count: int) -> None:
    """Measure one worker that is full of runs which wait."""
    async with client(url) as runs:
        with psycopg.connect(url, autocommit=True) as connection, worker(url, count) as process:
            print(f"a worker without runs: {_memory(process.pid):.0f} MB")
            await submit(runs, count, sleep=3600.0)
            await _until(connection, RUNNING, count)
            await asyncio.sleep(IDLE)
            before = _cpu(process.pid, 11, 12)
            await asyncio.sleep(IDLE)
            used = (_cpu(process.pid, 11, 12) - before) / IDLE
            print(f"with {count} runs in sleeping nodes: {_memory(process.pid):.0f} MB, {used:.1%} of a CPU")
            taken = connection.execute("SELECT count(*) FROM agent_audit WHERE kind = 'crashed'").fetchone()
            print(f"taken for dead meanwhile: {(taken or (0,))[0]} runs")


class Processes:
    """Processes whose CPU is counted; with `parents`, that of their parent and of all its children, dead ones too."""

    def __init__(self, pids: list[int], *, parents: bool = False) -> None:
        self._parents = {int(_fields(pid)[1]) for pid in pids} if parents else set()
        self._pids = pids

    def cpu(self) -> float:
        """Return the seconds of CPU that were used so far."""
        if not self._parents:
            return sum(_cpu(pid, 11, 12) for pid in self._pids)
        found = {int(path.name): path for path in Path("/proc").iterdir() if path.name.isdigit()}
        children = [pid for pid in found if (fields := _fields(pid)) and int(fields[1]) in self._parents]
        return sum(_cpu(pid, 11, 12) for pid in children) + sum(_cpu(pid, 11, 12, 13, 14) for pid in self._parents)


def _used(count: int, began: tuple[float, float], workers: Processes, server: Processes) -> list[float]:
    """Return the milliseconds of CPU a run, of the workers and of PostgreSQL."""
    return [(now - before) / count * 1000 for now, before in zip((workers.cpu(), server.cpu()), began, strict=True)]


def _print(what: str, rate: float, used: list[float]) -> None:
    print(f"{what}: {rate:.0f} runs/s; CPU a run: workers {used[0]:.1f} ms, PostgreSQL {used[1]:.1f} ms", flush=True)


def _cpu(pid: int, *columns: int) -> float:
    fields = _fields(pid)
    return sum(int(fields[column]) for column in columns) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _fields(pid: int) -> list[str]:
    """Return a process's state, parent and so on, as proc(5) has them; nothing once it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


async def _until(connection: "psycopg.Connection[Any]", query: LiteralString, number: int) -> None:
    while (connection.execute(query).fetchone() or (None,))[0] != number:  # noqa: ASYNC110 - the database tells nobody
        await asyncio.sleep(0.1)


def _memory(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _work(url: str, concurrency: int) -> None:
    setattr(opening, "build_graph", build_graph)  # noqa: B010 - it is no name that the module exports
    asyncio.run(work(settings(url), concurrency, lambda: print("ready", flush=True)))


def main() -> None:
    """Measure what is asked for, on a server of its own that writes through to the disk."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["throughput", "memory", "worker"])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=20)
    parser.add_argument("--url", default="")
    told = parser.parse_args()
    if told.what == "worker":
        _work(told.url, told.concurrency)
        return
    with durable_server() as admin_url:
        url = create_database(admin_url)
        asyncio.run(migrate(url, settings=settings(url)))
        if told.what == "throughput":
            asyncio.run(measure_throughput(url, told.runs, told.concurrency))
        else:
            asyncio.run(measure_memory(url, told.runs))


if __name__ == "__main__":
    main()
