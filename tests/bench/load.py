"""The load: so many runs under way at once, each followed by the next, and what is read off them."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, quantiles
from time import perf_counter, process_time
from uuid import uuid4

from .graph import SUPERSTEPS

_WATCH = 0.001  # seconds that the watchdog sleeps
_WARM_UP = 0.3  # seconds
_WARM_UP_RUNS = 16  # at once; more than a pool has connections


@dataclass(frozen=True)
class Figures:
    """What one measurement gives. Times are in milliseconds; `None` is what was not measured."""

    runs_per_second: float
    p50: float  # a superstep: from a node's start to the next one's, or to the run's end
    p99: float
    cpu: float  # of the measured process, all threads, a superstep
    stall: float | None = None
    round_trips: float | None = None  # a superstep


async def measure(
    run: Callable[[str], Awaitable[list[float]]], runs: int, seconds: float, count: Callable[[], int] | None
) -> Figures:
    """Keep `runs` runs under way for about `seconds` seconds, in whole rounds, after a warm-up.

    `count` returns the round trips so far. Where it is None, the longest stall of the event loop is taken instead, in a
    second pass: the watchdog's thousand wake-ups a second are CPU that the first must not show.
    """
    warm = min(runs, _WARM_UP_RUNS)
    each = 1
    until = perf_counter() + min(_WARM_UP, seconds)
    while (began := perf_counter()) < until:
        await _rounds(run, warm, 1)
        each = max(1, round(seconds / (perf_counter() - began) * warm / runs))
    gc.collect()
    gc.freeze()  # the libraries' objects are not looked through again; the collector stays on, as in production

    trips = count() if count else 0
    began, began_cpu = perf_counter(), process_time()
    moments = await _rounds(run, runs, each)
    ended, ended_cpu = perf_counter(), process_time()
    trips = count() - trips if count else 0

    supersteps = [1000 * (later - earlier) for run_moments in moments for earlier, later in pairwise(run_moments)]
    if len(supersteps) != runs * each * SUPERSTEPS:
        raise RuntimeError(f"{runs * each} runs took {len(supersteps)} supersteps, not {SUPERSTEPS} each")
    return Figures(
        runs_per_second=runs * each / (ended - began),
        p50=median(supersteps),
        p99=quantiles(supersteps, n=100, method="inclusive")[-1],
        cpu=1000 * (ended_cpu - began_cpu) / len(supersteps),
        stall=None if count else 1000 * await _longest_stall(run, runs, max(1, each // 2)),
        round_trips=trips / len(supersteps) if count else None,
    )


async def _rounds(run: Callable[[str], Awaitable[list[float]]], runs: int, each: int) -> list[list[float]]:
    """Carry out `runs` times `each` runs. Return each one's moments."""

    async def one_after_another() -> list[list[float]]:
        return [await run(str(uuid4())) for _ in range(each)]

    async with asyncio.TaskGroup() as group:
        tasks = []
        for _ in range(runs):
            tasks.append(group.create_task(one_after_another()))
            await asyncio.sleep(0)  # requests come one by one: a burst would be the load's own stall
    return [moments for task in tasks for moments in task.result()]


async def _longest_stall(run: Callable[[str], Awaitable[list[float]]], runs: int, each: int) -> float:
    """Return how late, at worst, a coroutine came back that slept for a millisecond beside the load, in seconds."""
    worst = 0.0

    async def watch() -> None:
        nonlocal worst
        while True:
            due = perf_counter() + _WATCH
            await asyncio.sleep(_WATCH)
            worst = max(worst, perf_counter() - due)

    watchdog = asyncio.create_task(watch(), name="watchdog")
    try:
        await _rounds(run, runs, each)
    finally:
        watchdog.cancel()
    return worst
