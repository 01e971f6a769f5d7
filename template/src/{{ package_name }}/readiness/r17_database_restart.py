"""R17 database restart: runs that are under way when the database goes away end as if it had stayed."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata

from ..persistence.urls import backends
from ..rooms import optional
from ..runs import Runs
from ..scenario import Scenario
from .engine.check import Check, Exam, Place
from .playing.plain import plain
from .playing.play import Played, Plays, play
from .playing.wrapped import Wrapped

OUTAGE = 2.5  # seconds, besides what stopping and starting takes
LONGEST = 200  # characters of a value that is shown

CHECK = Check(
    id="R17",
    title="database restart",
    holds="all scenarios, each at another superstep when the database is shut down, and going on while it is away for"
    " some seconds, end in the state of undisturbed ones, with the same effects and no node run twice. On SQLite, which"
    " has no server, another process holds the file for as long.",
    why="databases restart: updates, failovers, a move to a larger machine. That is routine, and no reason for a run to"
    " fail.",
    remedy="leave the waiting to `persistence/`: keep DATABASE_PATIENCE, and for SQLite DATABASE_TIMEOUT, well above"
    " what a restart takes; let no limit of your own end a run sooner, and no `except` pass over a write that failed.",
    fact="a run of eight nodes on LangGraph's own checkpointer, with the database restarted after the first, failed"
    " with every durability; with `async`, its default, all eight nodes had worked by then, and six worked again on"
    " resuming. One that repeats what a lost connection cut off survived a crash with 3 s of outage, and no node"
    " worked twice.",
    not_covered="outages longer than DATABASE_PATIENCE, after which a run is taken over or resumed; a database that"
    " comes back without what it had confirmed; and a connection pooler, which is not in between here.",
)

PLACE = Place.of(Runs.start)


class Outage(Protocol):
    """A database that can be taken away and given back."""

    def begin(self) -> None:
        """Return when it is away."""

    def end(self) -> None:
        """Return when it is there again."""


def test_runs_survive_an_outage(scenarios: list[Scenario], plays: Plays, tmp_path: Path, exam: Exam) -> None:
    """All scenarios are under way in one process, and each goes on."""
    undisturbed = [plays.of(scenario) for scenario in scenarios]
    name = f"{backends()[-1].BACKEND}_outage"
    room = optional(f"readiness.servers.{name}")
    if room is None and not backends()[-1].EMBEDDED:  # a file would be tried instead, and hold
        exam.find(f"readiness/servers/{name}.py is missing: take it back with `git restore`")
    with room.stoppable() if room else _held_file(tmp_path) as (url, outage):
        disturbed, paused = asyncio.run(_disturb(undisturbed, url, outage, tmp_path))
    exam.look("runs under way", paused)
    for expected, played in zip(undisturbed, disturbed, strict=True):
        for text in _differences(expected, played):
            exam.find(f"scenario {played.scenario.name}, whose database was away for {OUTAGE:g} s, {text}", PLACE)


def _differences(expected: Played, played: Played) -> Iterator[str]:
    if played.error or played.status is None:
        if type(played.error) is not type(expected.error):
            yield f"ends with {type(played.error).__name__}: {played.error}"
        return
    wanted = expected.status.condition if expected.status else "failed"
    if played.status.condition != wanted:
        yield f"is {played.status.condition} ({played.status.error}), not {wanted}"
        return
    for key in sorted(played.values.keys() | expected.values.keys()):
        ended, should_end = (plain(each.values.get(key)) for each in (played, expected))
        if ended != should_end:
            yield f"ends with {key} {shorten(repr(ended), LONGEST)}, not {shorten(repr(should_end), LONGEST)}"
    ran, should = (Counter(node for node, _ in each.node_seconds) for each in (played, expected))
    for node in sorted(ran.keys() | should.keys()):
        if ran[node] != should[node]:
            yield f"ran node {node} {ran[node]} times, not {should[node]}"
    effects, without = (each.scenario.effects(each.settings) for each in (played, expected))
    if effects != without:
        yield f"has other effects: {effects} instead of {without}"


async def _disturb(undisturbed: list[Played], url: str, outage: Outage, folder: Path) -> tuple[list[Played], int]:
    """Play all scenarios until each is paused or over, take the database away, and let them go on meanwhile."""
    gate = _Gate(len(undisturbed))

    async def one(number: int, known: Played) -> Played:
        stored = len(known.checkpoints)
        at = (stored // 2 + number) % max(1, stored - 1)  # the checkpoint after which it pauses: never the last one
        try:
            own = folder / f"disturbed-{number}"
            return await play(known.scenario, own, url=url, wrap=_pausing(gate, number, at))
        finally:
            gate.arrive(number)

    tasks = [asyncio.create_task(one(number, known)) for number, known in enumerate(undisturbed)]
    await gate.all_there.wait()
    await asyncio.to_thread(outage.begin)
    gate.opened.set()
    try:
        await asyncio.sleep(OUTAGE)
    finally:
        await asyncio.to_thread(outage.end)
    return list(await asyncio.gather(*tasks)), gate.paused


class _Gate:
    """Where the runs wait for the outage to begin. One that ends before it has got there is not waited for."""

    def __init__(self, runs: int) -> None:
        self.paused = 0
        self.all_there = asyncio.Event()
        self.opened = asyncio.Event()
        self._missing = set(range(runs))

    def arrive(self, number: int) -> None:
        self._missing.discard(number)
        if not self._missing:
            self.all_there.set()

    async def wait(self, number: int) -> None:
        self.paused += 1
        self.arrive(number)
        await self.opened.wait()


def _pausing(gate: _Gate, number: int, at: int) -> type[Wrapped]:
    """Return a checkpointer for run `number` that pauses once, after its checkpoint number `at`, from 0."""
    stored = iter(range(at + 1))  # shared by the checkpointer's copies, which LangGraph makes

    class Pausing(Wrapped):
        async def aput(
            self,
            config: RunnableConfig,
            checkpoint: Checkpoint,
            metadata: CheckpointMetadata,
            new_versions: ChannelVersions,
        ) -> RunnableConfig:
            put = await super().aput(config, checkpoint, metadata, new_versions)
            if next(stored, None) == at:
                await gate.wait(number)
            return put

    return Pausing


class _HeldFile:
    """A SQLite file that another connection has for itself."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._holder: sqlite3.Connection | None = None

    def begin(self) -> None:
        """Return when nobody else can write."""
        self._holder = sqlite3.connect(self._file, timeout=30, check_same_thread=False, isolation_level=None)
        self._holder.execute("BEGIN EXCLUSIVE")

    def end(self) -> None:
        """Return when everybody can."""
        if self._holder:
            self._holder.rollback()
            self._holder.close()


@contextmanager
def _held_file(folder: Path) -> Iterator[tuple[str, Outage]]:
    file = folder / "held.db"
    yield f"sqlite:///{file}", _HeldFile(file)
