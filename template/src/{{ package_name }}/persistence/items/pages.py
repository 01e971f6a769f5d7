"""A thread's page of the ledger: its items as rows, and what the rows have become as a change of the items.

A run and its questions are one item. Its input, the lease of who executes it, and the mark of an answer that was handed
to the graph are items of their own: a checkpoint that is stored expects the one and removes or adds the others.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import ormsgpack

from ..ledger import ACTIVE
from ..ledger.store import Row
from . import keys
from .book import QUESTIONS, RUNS, Book
from .items import Change, Items, Key, Span

LOOKS, PAUSE = 50, 0.02  # at a page that was changed between two spans, and seconds between them
RECENT = 20  # runs that are over, of those that a transaction reads


@dataclass
class Page:
    """What was read of a thread."""

    thread: str
    stamp: bytes | None = None
    head: str = ""  # its newest checkpoint
    whole: bool = False  # all runs that are over were read, and not only some of them
    runs: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # their keys and items, by their ids
    inputs: dict[str, bytes] = field(default_factory=dict)
    leases: dict[str, bytes] = field(default_factory=dict)
    marks: list[tuple[str, str]] = field(default_factory=list)  # a run, and its question whose answer was delivered
    entries: set[Key] = field(default_factory=set)  # in the index

    @property
    def is_of_one_moment(self) -> bool:
        """Whether no two runs have one position, as one that was put where another one was dropped meanwhile."""
        places = [keys.parts(key)[1] for key, _ in self.runs.values()]
        return len(places) == len(set(places))

    def fill(self, book: Book) -> None:
        """Put the rows into the tables."""
        if self.head:
            book.put("checkpoints", [{"thread_id": self.thread, "checkpoint_ns": "", "checkpoint_id": self.head}])
        for run_id, (_, item) in sorted(self.runs.items(), key=lambda found: keys.parts(found[1][0])[1]):
            self._fill(book, run_id, item)

    async def extend(self, items: Items, book: Book, *, run: str, whole: bool) -> None:
        """Read the rest of the thread's runs, or this one of them, if that is missing, and put it into the tables."""
        found: list[tuple[str, bytes]] = []
        if whole and not self.whole:
            (found,) = await items.read(keys.over(self.thread, None))
            self.whole = True
        elif run and run not in self.runs and (place := await place_of(items, run)):
            key = keys.run(place[1], run, active=False)
            (item,) = await items.get([(keys.ledger(self.thread), key)])
            found = [(key, item)] if item else []
        for key, item in found:
            run_id = keys.parts(key)[2]
            if run_id not in self.runs:
                self.runs[run_id] = key, item
                self._fill(book, run_id, item)

    def change(self, book: Book) -> Change | None:
        """Return what the rows have become; None for what they were."""
        if not book.changed:
            return None
        partition, puts, drops = keys.ledger(self.thread), dict[Key, bytes](), set[Key]()
        questions: dict[str, list[Row]] = {}
        for question in book.all(QUESTIONS):
            questions.setdefault(question["run_id"], []).append(question)
        rows = {row["run_id"]: row for row in book.all(RUNS)}
        for run_id, row in rows.items():
            kind, packed = row.pop("input_type"), row.pop("input")
            given = b"" if kind is None else ormsgpack.packb([kind, packed])
            held = str(row["attempt"]).encode() if row["status"] == "running" else b""
            key = keys.run(row["position"], run_id, active=row["status"] in ACTIVE)
            item = ormsgpack.packb({"run": row, "questions": questions.get(run_id, [])})
            was = self.runs.get(run_id)
            if was is None:
                puts[keys.place(run_id)] = keys.key(self.thread, str(row["position"])).encode()
            elif was[0] != key:
                drops.add((partition, was[0]))
            if was != (key, item):
                puts[partition, key] = item
                drops |= {(partition, keys.delivered(*mark)) for mark in self.marks if mark[0] == run_id}
            for name, before, now in (
                (keys.given(run_id), self.inputs.get(run_id, b""), given),
                (keys.lease(run_id), self.leases.get(run_id, b""), held),
            ):
                if before and not now:
                    drops.add((partition, name))
                elif before != now:
                    puts[partition, name] = now
        for run_id in self.runs.keys() - rows.keys():
            drops |= {(partition, self.runs[run_id][0]), keys.place(run_id)}
            drops |= {(partition, keys.given(run_id))} if run_id in self.inputs else set()
            drops |= {(partition, keys.lease(run_id))} if run_id in self.leases else set()
            drops |= {(partition, keys.delivered(*mark)) for mark in self.marks if mark[0] == run_id}
        if not puts and not drops:
            return None
        entries = _entries(self.thread, rows.values(), [question for some in questions.values() for question in some])
        puts |= dict.fromkeys(entries - self.entries, b"")
        drops |= self.entries - entries
        expects = {(partition, keys.STAMP): self.stamp}
        puts[partition, keys.STAMP] = uuid4().bytes
        return Change(puts=puts, drops=drops, expects=expects, announce=True)

    def _fill(self, book: Book, run_id: str, item: bytes) -> None:
        stored = ormsgpack.unpackb(item)
        kind, packed = ormsgpack.unpackb(self.inputs[run_id]) if run_id in self.inputs else (None, None)
        book.put(RUNS, [{**stored["run"], "input_type": kind, "input": packed}])
        for question in stored["questions"]:
            if (run_id, question["question_id"]) in self.marks:
                question["state"] = "delivered"
            book.put(QUESTIONS, [question])
        self.entries |= _entries(self.thread, [stored["run"]], stored["questions"])


async def load(items: Items, threads: Sequence[str], *, whole: bool = False, limit: int = 0) -> list[Page]:
    """Return the pages of threads: all runs that are not over, and `limit` of the others, or RECENT, or the whole."""
    spans: list[Span] = []
    for thread in threads:
        newest = keys.below(keys.state(thread), "checkpoint", "", limit=1, backwards=True, bare=True)
        spans += [keys.living(thread), keys.over(thread, None if whole else max(limit, RECENT)), newest]
    for _ in range(LOOKS):
        found = iter(await items.read(*spans))
        pages = [_page(thread, next(found), next(found), next(found), whole=whole) for thread in threads]
        if all(page.is_of_one_moment for page in pages):
            break
        await asyncio.sleep(PAUSE)
    return pages


async def place_of(items: Items, run: str) -> tuple[str, int] | None:
    """Return a run's thread and position."""
    (found,) = await items.get([keys.place(run)])
    if found is None:
        return None
    thread, position = keys.parts(found.decode())
    return thread, int(position)


async def audit_of(items: Items, thread: str, limit: int | None) -> list[Row]:
    """Return the newest lines of a thread's audit, or all of them, oldest first."""
    (found,) = await items.read(Span(keys.audit(thread), limit=limit, backwards=True))
    return [ormsgpack.unpackb(item) for _, item in reversed(found)]


def noted(rows: Sequence[Row], now: float) -> dict[Key, bytes]:
    """Return new lines of the audit as items. Their keys sort by the store's time."""
    puts = {}
    for number, row in enumerate(rows):
        del row["entry"]
        key = keys.key(f"{now:020.6f}", f"{number:04d}", uuid4().hex)
        puts[keys.audit(row["thread_id"]), key] = ormsgpack.packb(row)
        puts[keys.audited(row["thread_id"])] = b""
    return puts


def _entries(thread: str, runs: Collection[Row], questions: Collection[Row]) -> set[Key]:
    """Return a thread's entries in the index, with these runs and questions."""
    found = {keys.known(thread)} if runs else set()
    if any(run["status"] in {"queued", "running"} for run in runs):
        found.add(keys.busy(thread))
    if any(question["state"] == "open" for question in questions):
        found.add(keys.asking(thread))
    return found


def _page(
    thread: str,
    living: list[tuple[str, bytes]],
    over: list[tuple[str, bytes]],
    newest: list[tuple[str, bytes]],
    *,
    whole: bool,
) -> Page:
    page = Page(thread, whole=whole, head=keys.parts(newest[0][0])[2] if newest else "")
    for key, item in [*living, *over]:
        kind, *rest = keys.parts(key)
        if key == keys.STAMP:
            page.stamp = item
        elif kind in {"active", "over"}:
            page.runs[rest[1]] = key, item
        elif kind == "input":
            page.inputs[rest[0]] = item
        elif kind == "lease":
            page.leases[rest[0]] = item
        elif kind == "delivered":
            page.marks.append((rest[0], rest[1]))
    return page
