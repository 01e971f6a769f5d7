"""What the saver counts: totals for `doctor` and tests, and OpenTelemetry metrics for the operators.

The instruments do nothing, and cost next to nothing, until the process has OpenTelemetry's SDK.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from opentelemetry import metrics

from ..errors import PROGRAM

_meter = metrics.get_meter(PROGRAM)
_batch_size = _meter.create_histogram("checkpoint.batch.size", "{call}", "Calls stored by one statement.")
_batch_bytes = _meter.create_histogram("checkpoint.batch.bytes", "By", "Bytes stored by one statement.")
_batch_duration = _meter.create_histogram("checkpoint.batch.duration", "s", "From sending a batch to its commit.")
_queue_length = _meter.create_gauge("checkpoint.queue.length", "{call}", "Calls that wait for the next batch.")
_retries = _meter.create_counter("checkpoint.retries", "{attempt}", "Statements sent again after a lost connection.")
_refusals = _meter.create_counter("checkpoint.refusals", "{call}", "Calls whose rows PostgreSQL refused.")
_connections = _meter.create_gauge("checkpoint.pool.connections", "{connection}", "Connections, by their state.")
_pending = _meter.create_gauge("checkpoint.pool.waiting", "{request}", "Requests that wait for a connection.")


@dataclass
class Figures:
    """Totals since the saver was opened."""

    calls: int = 0
    batches: int = 0
    bytes: int = 0
    seconds: float = 0.0  # of all batches together; several may be under way at once
    largest_batch: int = 0  # calls
    retries: int = 0
    refusals: int = 0

    def __str__(self) -> str:
        """Return the totals in words."""
        mean = f", {self.seconds / self.batches * 1000:.1f} ms each" if self.batches else ""
        batches = f"batches: {self.batches} (up to {self.largest_batch} calls{mean})"
        return (
            f"calls: {self.calls} ({self.bytes / 1000:.0f} kB), {batches}, retries: {self.retries}, refusals: "
            f"{self.refusals}"
        )

    def stored(self, calls: int, size: int, seconds: float, waiting: int, pool: Mapping[str, int]) -> None:
        """Count a batch of `size` bytes; `waiting` calls are in the queue, `pool` is what the pool says of itself."""
        self.calls += calls
        self.batches += 1
        self.bytes += size
        self.seconds += seconds
        self.largest_batch = max(self.largest_batch, calls)
        _batch_size.record(calls)
        _batch_bytes.record(size)
        _batch_duration.record(seconds)
        _queue_length.set(waiting)
        idle = pool.get("pool_available", 0)
        _connections.set(idle, {"state": "idle"})
        _connections.set(pool.get("pool_size", 0) - idle, {"state": "used"})
        _pending.set(pool.get("requests_waiting", 0))

    def retried(self) -> None:
        """Count a statement that is sent again."""
        self.retries += 1
        _retries.add(1)

    def refused(self) -> None:
        """Count a call whose rows the database refused."""
        self.refusals += 1
        _refusals.add(1)
