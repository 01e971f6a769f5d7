"""What an operator sees of the saver: OpenTelemetry's metrics, and `doctor`."""

import asyncio
from typing import Any

import psycopg
import pytest
from acme_agent.persistence import CheckpointRefused, open_checkpointer, postgres_commit, try_storing
from acme_agent.persistence.postgres_figures import Figures
from acme_agent.settings import Settings
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

pytestmark = pytest.mark.anyio

UNSTORABLE = "".join(chr(0x4E00 + number * 7 % 20_000) for number in range(3000))  # too long for an index, even packed
LOSE_CONNECTIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="session")
def reader() -> InMemoryMetricReader:
    """Give the process OpenTelemetry's SDK, as `opentelemetry-instrument` does."""
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    return reader


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """Return what has been measured since the process began, by the metrics' names."""
    data = reader.get_metrics_data()  # None before the first
    scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
    return {metric.name: list(metric.data.data_points) for scope in scopes for metric in scope.metrics}


def growth(before: dict[str, list[Any]], after: dict[str, list[Any]], name: str, field: str = "value") -> float:
    """Return by how much a figure has grown; one that nothing was added to does not exist yet."""
    grown: float = getattr(after[name][0], field) - (getattr(before[name][0], field) if name in before else 0)
    return grown


async def put(saver: BaseCheckpointSaver[str], thread: str) -> None:
    config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    await saver.aput(config, empty_checkpoint(), {}, {})


async def test_metrics_tell_how_checkpoints_are_stored(
    database: str, settings: Settings, reader: InMemoryMetricReader
) -> None:
    async with open_checkpointer(database, settings=settings) as saver:
        await put(saver, "first")
        before = points(reader)
        await asyncio.gather(*(put(saver, f"thread-{number}") for number in range(30)))
        after = points(reader)

    assert growth(before, after, "checkpoint.batch.size", "sum") == 30
    assert 1 <= growth(before, after, "checkpoint.batch.size", "count") < 10
    assert growth(before, after, "checkpoint.batch.bytes", "sum") > 30 * 100
    assert 0 < growth(before, after, "checkpoint.batch.duration", "sum") < 30
    assert after["checkpoint.queue.length"][0].value == 0
    states = {point.attributes["state"]: point.value for point in after["checkpoint.pool.connections"]}
    assert states.keys() == {"idle", "used"}
    assert 1 <= sum(states.values()) <= settings.database_pool_max
    assert after["checkpoint.pool.waiting"][0].value == 0


async def test_metrics_tell_how_long_the_queue_is(
    database: str, settings: Settings, reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_commit, "BATCH_CALLS", 10)
    lengths: list[int] = []

    async def call(saver: BaseCheckpointSaver[str], number: int) -> None:
        await put(saver, f"thread-{number}")
        lengths.append(points(reader)["checkpoint.queue.length"][0].value)

    one = settings.model_copy(update={"checkpoint_batches": 1})
    async with open_checkpointer(database, settings=one) as saver:
        await asyncio.gather(*(call(saver, number) for number in range(30)))
    assert lengths == [20] * 10 + [10] * 10 + [0] * 10


async def test_metrics_tell_what_was_lost_and_refused(
    database: str, settings: Settings, reader: InMemoryMetricReader, connection: psycopg.Connection[Any]
) -> None:
    async with open_checkpointer(database, settings=settings) as saver:
        await put(saver, "first")
        before = points(reader)
        with pytest.raises(CheckpointRefused):
            await put(saver, UNSTORABLE)
        connection.execute(LOSE_CONNECTIONS)
        await put(saver, "second")
        after = points(reader)
    assert growth(before, after, "checkpoint.refusals") == 1
    assert growth(before, after, "checkpoint.retries") >= 1


def test_the_pool_is_told_apart_by_the_states_of_its_connections(reader: InMemoryMetricReader) -> None:
    figures = Figures()
    before = points(reader)
    figures.stored(3, 1500, 0.25, 7, {"pool_size": 5, "pool_available": 1, "requests_waiting": 9})
    found = points(reader)
    states = {point.attributes["state"]: point.value for point in found["checkpoint.pool.connections"]}
    assert states == {"idle": 1, "used": 4}
    assert found["checkpoint.pool.waiting"][0].value == 9
    figures.stored(1, 500, 0.75, 0, {})
    figures.retried()
    assert growth(before, points(reader), "checkpoint.batch.duration", "sum") == pytest.approx(1.0)  # seconds
    told = "calls: 4 (2 kB), batches: 2 (up to 3 calls, 500.0 ms each), retries: 1, refusals: 0"
    assert str(figures) == told


async def test_a_trial_tells_how_storing_works_and_leaves_nothing(database: str, settings: Settings) -> None:
    async with open_checkpointer(database, settings=settings) as saver:
        told = await try_storing(saver)
        assert "20 checkpoints at once were stored in" in told
        assert "calls: 20 (" in told
        assert "of 4 connections are open" in told
        assert [found async for found in saver.alist(None)] == []


async def test_a_trial_notices_that_nothing_is_read_back() -> None:
    class Forgetful(InMemorySaver):
        async def aget_tuple(self, config: RunnableConfig) -> None:
            return None

    saver = Forgetful()
    with pytest.raises(AssertionError, match="cannot be read back"):
        await try_storing(saver)
    assert list(saver.storage) == []
