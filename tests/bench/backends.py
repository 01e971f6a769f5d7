"""What a backend costs: `python -m bench.backends valkey`, a table for docs/persistence.md.

Each figure is of a database of its own, on this machine and with its disk; the figures of several backends compare only
if they were made one after the other. DynamoDB is moto's, in memory and slow, and tells little of AWS.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, TypedDict
from uuid import uuid4

from acme_agent.agent import AgentSettings
from acme_agent.persistence import list_threads, migrate, open_checkpointer, open_ledger, open_retention
from acme_agent.runs import Runs
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.graph import START, StateGraph
from pydantic import SecretStr

from bench.graph import TYPICAL, build_graph, first_input, moments

AT_ONCE = 64  # runs
ROUNDS = 5
LARGE = 5_000_000  # bytes of a state
STEPS = 20  # supersteps with the large state
LONG = 10_000  # checkpoints of a thread
PAGE = 20


@contextmanager
def database(backend: str, folder: Path) -> Iterator[str]:
    """Yield the URL of an empty database."""
    if backend == "sqlite":
        yield f"sqlite:///{folder / uuid4().hex}.db"
    elif backend == "postgres":
        from acme_agent.readiness.servers.postgres_server import create_database

        from bench.server import durable_server

        with durable_server() as url:
            yield create_database(url)
    elif backend in {"valkey", "valkey-always"}:
        from acme_agent.readiness.servers.valkey_server import DURABLE, valkey_server

        with valkey_server(*DURABLE[:-1], "always" if backend == "valkey-always" else "everysec") as url:
            yield url
    else:
        from acme_agent.readiness.servers.dynamodb_fixtures import url_at
        from acme_agent.readiness.servers.dynamodb_server import ENVIRONMENT, dynamodb_server

        os.environ.update(ENVIRONMENT)  # credentials that are none
        with dynamodb_server() as endpoint:
            yield url_at(endpoint)


class Large(TypedDict, total=False):
    """A document that does not change, and a number that does."""

    document: bytes
    number: Annotated[int, lambda old, new: old + new]


def large_graph() -> Any:  # Any: a graph of this state
    """Return a graph of one node, which goes on until there were STEPS of it."""

    async def count(_state: Large) -> Large:
        return {"number": 1}

    graph: Any = StateGraph(Large)  # Any: as above
    graph.add_node("count", count)
    graph.add_edge(START, "count")
    graph.add_conditional_edges("count", lambda state: "count" if state["number"] < STEPS else "__end__")
    return graph


async def at_once(url: str, settings: AgentSettings, size: "Size") -> list[str]:
    """AT_ONCE runs of four nodes, in the ledger."""
    async with open_checkpointer(url, settings=settings) as saver:
        graph = build_graph().compile(checkpointer=saver)
        async with Runs(graph, settings, open_ledger(saver)) as runs:  # type: ignore[arg-type] # another state

            async def one(number: str) -> float:
                moments.set([])
                began = perf_counter()
                await runs.start(dict(first_input(TYPICAL)), thread=number)
                return perf_counter() - began

            await one("warm")
            before = await size(saver)
            rates, waits = [], []
            for _ in range(ROUNDS):
                began = perf_counter()
                waits += await asyncio.gather(*(one(uuid4().hex) for _ in range(AT_ONCE)))
                rates.append(AT_ONCE / (perf_counter() - began))
            stored = (await size(saver) - before) / (AT_ONCE * ROUNDS)
    return [
        f"{AT_ONCE} runs at once | {statistics.median(rates):.0f} runs a second",
        f"one of them, of 6 checkpoints (p50) | {statistics.median(waits) * 1000:.0f} ms",
        f"one of them, stored | {stored / 1000:.0f} kB" if stored else "",
    ]


async def with_a_large_state(url: str, settings: AgentSettings, size: "Size") -> list[str]:
    """STEPS supersteps with a state of LARGE bytes, of which one number changes."""
    async with open_checkpointer(url, settings=settings) as saver:
        before = await size(saver)
        graph = large_graph().compile(checkpointer=saver)
        began = perf_counter()
        config: RunnableConfig = {"configurable": {"thread_id": "large"}, "recursion_limit": STEPS + 5}
        await graph.ainvoke({"document": b"x" * LARGE, "number": 0}, config, durability="sync")
        step = (perf_counter() - began) / (STEPS + 2)
        stored = await size(saver) - before
        began = perf_counter()
        await graph.aget_state(config)
        read = perf_counter() - began
    return [
        f"a state of 5 MB: a superstep that changes a number | {step * 1000:.0f} ms",
        f"a state of 5 MB: reading it | {read * 1000:.0f} ms",
        f"a state of 5 MB: stored after {STEPS} supersteps | {stored / 1e6:.0f} MB" if stored else "",
    ]


async def with_a_long_history(url: str, settings: AgentSettings) -> list[str]:
    """A thread of LONG checkpoints, each with a text that changed."""
    async with open_checkpointer(url, settings=settings) as saver:
        config: RunnableConfig = {"configurable": {"thread_id": "long", "checkpoint_ns": ""}}
        checkpoint, version = empty_checkpoint(), None
        for number in range(LONG):
            version = saver.get_next_version(version, None)
            checkpoint["id"] = f"1f{number:06x}-0000-6000-8000-000000000000"
            checkpoint["channel_values"] = {"text": "x" * 500}
            checkpoint["channel_versions"] = {"text": version}
            config = await saver.aput(config, checkpoint, {"source": "loop", "step": number}, {"text": version})
        thread: RunnableConfig = {"configurable": {"thread_id": "long", "checkpoint_ns": ""}}
        found = [await timed(lambda: saver.aget_tuple(thread)) for _ in range(20)]
        first = await timed(lambda: page(saver, thread, None))
        middle: Any = {
            "configurable": {"thread_id": "long", "checkpoint_ns": "", "checkpoint_id": f"1f{LONG // 2:06x}"}
        }
        half = await timed(lambda: page(saver, thread, middle))
        listed = await timed(lambda: list_threads(saver))
        retention = open_retention(url, saver)
        trimmed = await timed(lambda: retention.trim("long", 100))
    return [
        f"{LONG:,} checkpoints: reading the newest (p50) | {statistics.median(found) * 1000:.1f} ms",
        f"{LONG:,} checkpoints: the newest {PAGE} | {first * 1000:.0f} ms",
        f"{LONG:,} checkpoints: {PAGE} from the middle | {half * 1000:.0f} ms",
        f"{LONG:,} checkpoints: `threads` | {listed * 1000:.0f} ms",
        f"{LONG:,} checkpoints: shortening it to 100 | {trimmed:.1f} s",
    ]


async def page(saver: BaseCheckpointSaver[Any], thread: RunnableConfig, before: Any) -> int:
    """Read a page of a history and return how many checkpoints it has. Any: upstream's."""
    return len([item async for item in saver.alist(thread, before=before, limit=PAGE)])


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    """Return how many seconds a call takes."""
    began = perf_counter()
    await call()
    return perf_counter() - began


Size = Callable[[BaseCheckpointSaver[Any]], Awaitable[int]]


def size_of(backend: str, url: str) -> Size:
    """Return what tells how many bytes a database has."""

    async def size(saver: Any) -> int:  # Any: the saver of one backend
        if backend == "sqlite":
            path = Path(url.removeprefix("sqlite:///"))
            return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
        if backend == "postgres":
            query = "SELECT pg_database_size(current_database()) AS bytes"
            return int((await saver.store.rows(query, {}))[0]["bytes"])
        if backend.startswith("valkey"):
            found = await saver.items.patiently(saver.items._client.info)
            return int(found["used_memory"])
        return 0

    return size


async def measure(backend: str) -> list[str]:
    """Return the rows of the table."""
    with tempfile.TemporaryDirectory() as place, database(backend, Path(place)) as url:
        settings = AgentSettings(
            _env_file=None, database_url=SecretStr(url), data_dir=Path(place), database_pool_max=16, environment="test"
        )
        await migrate(url, settings=settings)
        found = await with_a_large_state(url, settings, size_of(backend, url))
        found += await at_once(url, settings, size_of(backend, url))
        found += await with_a_long_history(url, settings)
    return [f"| {row} |" for row in found if row]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.backends", description="Measure a backend.")
    parser.add_argument("backend", choices=["sqlite", "postgres", "valkey", "valkey-always", "dynamodb"])
    backend = parser.parse_args().backend
    print(f"| {backend} | |\n|---|---|")
    print("\n".join(asyncio.run(measure(backend))))


if __name__ == "__main__":
    main()
