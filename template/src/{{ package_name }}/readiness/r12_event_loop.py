"""R12 event loop: nothing stands in the way of the other runs of the process."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from ..scenario import Scenario
from .engine.budgets import Budgets
from .engine.check import Check, Exam, Finding
from .playing.play import Plays, play
from .playing.watchdog import Stall, Watchdog
from .source import nodes as source
from .source.blocking import blocking_calls, on_the_loop, ruff_findings, set_up_in_handlers, set_up_in_nodes

TIMES = 3  # that a scenario must stall in the same function: noise does not come back to it

CHECK = Check(
    id="R12",
    title="event loop",
    holds="nodes are async, nothing that they call blocks the event loop, no scenario stops it for longer than the"
    " budget `stall_ms`, and the graph and the connections are opened once a process, not by a node or for a request.",
    why="all runs of a process share one event loop: while one blocks it, the others stand still, their leases are not"
    " renewed, and no timeout cuts anything off.",
    remedy="write `async def` and await the async client (`ainvoke`, `httpx.AsyncClient`, `asyncio.sleep`); what has no"
    " async twin goes into a thread: `await asyncio.to_thread(function, ...)`. Open pools once, with the process's"
    " `open_runs`, and compile sub-graphs at a module's level or in `build_graph`.",
    fact="a node in `time.sleep` was not cut off by its timeout of 0.2 s and ran for 1.0 s; killed there, with the"
    " durability `async`, the run had lost the two nodes before it. Of the templates that were read two open a pool and"
    " run `setup()` for every request; a third did, until its users met PoolTimeout.",
    not_covered="what only a first call does, such as an import; blocking methods of objects that are known only when"
    " the code runs, unless a scenario calls them for long enough; and lines that say `noqa`.",
)


def test_nodes_are_async(exam: Exam) -> None:
    """Every node is."""
    for node in source.nodes():
        exam.look("nodes")
        text = f"node {node.path} is not async: it holds a thread while it waits, and no timeout can cut it off"
        exam.require(node.is_async, text, node.place)


def test_nothing_blocks(exam: Exam) -> None:
    """No call that blocks, neither in an async function nor in a plain one that it calls."""
    files = source.files()
    exam.look("files", len(files))
    _tell(exam, ruff_findings(files))
    for name, code in on_the_loop():
        _tell(exam, blocking_calls(name, code))


def test_set_up_is_done_once(exam: Exam) -> None:
    """Neither nodes nor handlers of requests and jobs open or compile anything."""
    plain = [(f"node {node.path}", node.code) for node in source.nodes() if not node.is_async]
    for name, code in [*on_the_loop(), *plain]:
        _tell(exam, set_up_in_nodes(name, code))
    for file in source.files():
        for _, findings in set_up_in_handlers(file):
            exam.look("handlers")
            _tell(exam, findings)


def test_the_loop_goes_on(scenario: Scenario, plays: Plays, budgets: Budgets, tmp_path: Path, exam: Exam) -> None:
    """No stall while a scenario plays that comes back whenever it plays, first imports and caches aside."""
    plays.of(scenario)
    stalls: list[Stall] = []
    for number in range(TIMES):
        watchdog = asyncio.run(_watched(scenario, tmp_path / str(number), budgets.stall_ms / 1000))
        exam.look("moments", watchdog.looks)
        again = {stall.where for stall in watchdog.stalls}
        stalls = [stall for stall in (stalls or watchdog.stalls) if stall.where in again]
        if not stalls:
            return
    for stall in {stall.where: stall for stall in stalls}.values():
        text = f"scenario {scenario.name}: the event loop stood still for {stall.seconds * 1000:.0f} ms in"
        exam.find(f"{text} {stall.function}, {budgets.stall_ms} ms at most", stall.place)


async def _watched(scenario: Scenario, folder: Path, limit: float) -> Watchdog:
    with Watchdog(limit) as watchdog:
        await play(scenario, folder)
    return watchdog


def _tell(exam: Exam, findings: Iterable[Finding]) -> None:
    at = {(found.place.file, found.place.line) for found in exam.findings if found.place}
    for found in findings:
        if found.place is None or (found.place.file, found.place.line) not in at:  # not once more for another node
            exam.find(found.text, found.place)
            at |= {(found.place.file, found.place.line)} if found.place else set()
