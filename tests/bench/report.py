"""The figures as Markdown: medians, ratios to the stock saver over a pool, and a verdict on each promise."""

import os
import platform
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

from .case import Case
from .graph import LARGE, SUPERSTEPS, TYPICAL
from .growth import Growth
from .load import Figures
from .savers import BASELINE, LEDGER, POOL_SIZE, VARIANTS

Results = Mapping[Case, Sequence[Figures]]
"""A case's figures, one for each repetition."""

_LIBRARIES = ("langgraph", "langgraph-checkpoint", "langgraph-checkpoint-postgres", "psycopg", "psycopg-pool")
_MARKS = ("<!-- bench: what follows is written by `make bench` -->\n", "<!-- bench: end -->\n")


class Server(NamedTuple):
    """What the measured server is like. Times are milliseconds, medians."""

    version: str
    commit: float  # an INSERT of one row
    select: float  # SELECT 1
    distant_select: float  # the same through the proxy


def middle(results: Results, case: Case, figure: Callable[[Figures], float | None]) -> float | None:
    """Return the median of a figure over the repetitions; None if it was not measured."""
    values = [value for figures in results.get(case, ()) if (value := figure(figures)) is not None]
    return median(values) if values else None


def report(results: Results, growth: Mapping[tuple[str, str], Growth], server: Server, command: str) -> str:
    """Return everything that a run of the benchmark found."""
    parts = [
        _setting(results, server, command),
        "### Verdicts\n\n" + "\n".join(f"- {line}" for line in verdicts(results)),
    ]
    groups = dict.fromkeys((case.kilobytes, case.latency, case.runs) for case in results)
    for kilobytes, latency, runs in sorted(groups):
        parts.append(_table(results, kilobytes, latency, runs))
    if growth:
        parts.append(_growth_table(growth))
    return "\n\n".join(parts) + "\n"


def verdicts(results: Results) -> list[str]:
    """Return a line for each promise: kept, missed or not measured."""

    def ratio(runs: int, latency: float, one: str = "ours", other: str = BASELINE) -> float | None:
        ours, theirs = (
            middle(results, Case(variant, runs, latency), lambda figures: figures.runs_per_second)
            for variant in (one, other)
        )
        return ours / theirs if ours and theirs else None

    def ledger(runs: int, latency: float) -> float | None:
        return ratio(runs, latency, LEDGER, "ours")

    def cpu_ratio(runs: int) -> float | None:
        ours, memory = (
            middle(results, Case(variant, runs), lambda figures: figures.cpu) for variant in ("ours", "memory")
        )
        return ours / memory if ours and memory else None

    stall = middle(results, Case("ours", 128, kilobytes=LARGE), lambda figures: figures.stall)
    return [
        _verdict("32 runs, loopback: runs a second over stock-pool's", ratio(32, 0), at_least=4),
        _verdict("32 runs, +4 ms: runs a second over stock-pool's", ratio(32, 4), at_least=18),
        _verdict("1 run, loopback: runs a second over stock-pool's", ratio(1, 0), at_least=1),
        _verdict("1 run, +4 ms: runs a second over stock-pool's", ratio(1, 4), at_least=1),
        _verdict("32 runs, loopback: CPU a superstep over InMemorySaver's", cpu_ratio(32), at_most=2),
        _verdict("32 runs, loopback: runs a second in the ledger over those outside", ledger(32, 0), at_least=0.9),
        _verdict("32 runs, +4 ms: runs a second in the ledger over those outside", ledger(32, 4), at_least=0.9),
        _verdict(f"128 runs of {LARGE} kB: longest stall of the event loop, ms", stall, at_most=50),
    ]


def write_into(page: Path, text: str) -> None:
    """Replace what stands between the marks of a page. Raises ValueError for a page without them."""
    begin, end = _MARKS
    old = page.read_text()
    if old.count(begin) != 1 or old.count(end) != 1:
        raise ValueError(f"{page.name} lacks the lines {begin.strip()} and {end.strip()}")
    page.write_text(re.sub(f"(?s){re.escape(begin)}.*{re.escape(end)}", lambda _: f"{begin}\n{text}\n{end}", old))


def _verdict(what: str, value: float | None, at_least: float = 0, at_most: float = float("inf")) -> str:
    bound = f"at least {at_least:g}" if at_least else f"at most {at_most:g}"
    if value is None:
        return f"not measured · {what}: {bound}"
    return f"{'kept' if at_least <= value <= at_most else '**missed**'} · {what}: {value:.2f}, {bound}"


def _setting(results: Results, server: Server, command: str) -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    repetitions = max(map(len, results.values()))
    return (
        f"`{command}` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores ({platform.machine()}), "
        f"Python {platform.python_version()}, PostgreSQL {server.version}, {libraries}. "
        f"Medians of {repetitions} repetitions. Pools have {POOL_SIZE} connections; a run has {SUPERSTEPS} supersteps "
        f"and begins with {TYPICAL} kB of messages. "
        f"A commit takes {server.commit:.2f} ms here, `SELECT 1` {server.select:.2f} ms, and "
        f"{server.distant_select:.2f} ms through the proxy."
    )


def _table(results: Results, kilobytes: float, latency: float, runs: int) -> str:
    way = f"{latency:g} ms round trip added" if latency else "loopback"
    size = f", {kilobytes:g} kB of state" if kilobytes != TYPICAL else ""
    last = "round trips a superstep" if latency else "longest stall, ms"
    columns = ("", "runs/s", "of stock-pool's", "lowest to highest", "p50, ms", "p99, ms", "CPU, ms", last)
    cases = [Case(variant, runs, latency, kilobytes) for variant in VARIANTS]
    baseline = middle(results, Case(BASELINE, runs, latency, kilobytes), lambda figures: figures.runs_per_second)
    rows = []
    for case in cases:
        if case not in results:
            continue
        speeds = [figures.runs_per_second for figures in results[case]]
        rows.append(
            (
                VARIANTS[case.variant],
                f"{median(speeds):.1f}",
                f"{median(speeds) / baseline:.2f}" if baseline else "",
                f"{min(speeds):.1f} to {max(speeds):.1f}",
                *(
                    "" if (value := middle(results, case, figure)) is None else f"{value:.2f}"
                    for figure in (
                        lambda figures: figures.p50,
                        lambda figures: figures.p99,
                        lambda figures: figures.cpu,
                        (lambda figures: figures.round_trips) if latency else (lambda figures: figures.stall),
                    )
                ),
            )
        )
    return f"### {runs} {'run' if runs == 1 else 'runs at once'}, {way}{size}\n\n{_markdown(columns, rows)}"


def _growth_table(growth: Mapping[tuple[str, str], Growth]) -> str:
    columns = ("", "messages", "bytes a turn", "in the last turns", "on disk, unvacuumed", "rows at the end")
    rows = [
        (
            VARIANTS[variant],
            policy,
            f"{found.bytes_per_turn:,.0f}",
            f"{found.tail_bytes_per_turn:,.0f}",
            f"{found.disk_bytes_per_turn:,.0f}",
            f"{found.rows:,}",
        )
        for (variant, policy), found in growth.items()
    ]
    turns = max(found.turns for found in growth.values())
    return f"### A thread of {turns} turns\n\n{_markdown(columns, rows)}"


def _markdown(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(columns)
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows))
