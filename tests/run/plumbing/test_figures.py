"""What an operator sees of the saver: OpenTelemetry's metrics, and `doctor`."""

import asyncio
from typing import Any

import pytest
from acme_agent.persistence import open_checkpointer, try_storing
from acme_agent.settings import Settings
from langgraph.checkpoint.base import empty_checkpoint
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def reader() -> InMemoryMetricReader:
    """Give the process OpenTelemetry's SDK, as `opentelemetry-instrument` does."""
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    return reader


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """Return what has been measured since the process began, by the metrics' names."""
    data = reader.get_metrics_data()
    assert data
    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
    return {metric.name: list(metric.data.data_points) for scope in scopes for metric in scope.metrics}


async def test_metrics_tell_how_checkpoints_are_stored(
    database: str, settings: Settings, reader: InMemoryMetricReader
) -> None:
    async with open_checkpointer(database, settings=settings) as saver:

        async def put(thread: str) -> None:
            config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
            await saver.aput(config, empty_checkpoint(), {}, {})

        await put("first")
        before = points(reader)
        await asyncio.gather(*(put(f"thread-{number}") for number in range(30)))
        after = points(reader)

    def growth(name: str, field: str) -> float:
        grown: float = getattr(after[name][0], field) - getattr(before[name][0], field)
        return grown

    assert growth("checkpoint.batch.size", "sum") == 30
    assert 1 <= growth("checkpoint.batch.size", "count") < 10
    assert growth("checkpoint.batch.bytes", "sum") > 30 * 100
    assert 0 < growth("checkpoint.batch.duration", "sum") < 30
    assert after["checkpoint.queue.length"][0].value == 0
    states = {point.attributes["state"]: point.value for point in after["checkpoint.pool.connections"]}
    assert states.keys() == {"idle", "used"}
    assert 1 <= sum(states.values()) <= settings.database_pool_max
    assert after["checkpoint.pool.waiting"][0].value == 0


async def test_a_trial_tells_how_storing_works_and_leaves_nothing(database: str, settings: Settings) -> None:
    async with open_checkpointer(database, settings=settings) as saver:
        told = await try_storing(saver)
        assert "20 checkpoints at once were stored in" in told
        assert "20 calls and" in told
        assert "of 4 connections are open" in told
        assert [found async for found in saver.alist(None)] == []
