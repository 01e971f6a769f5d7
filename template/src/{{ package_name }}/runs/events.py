"""What happens in a run, for whoever watches it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from ..cancelling import end
from ..persistence import Ledger, Run, Status
from ..settings import redact

PAUSE = 1.0  # seconds between two looks at a run, if no notice comes


@dataclass(frozen=True)
class NodeStarted:
    """A node begins to work."""

    node: str


@dataclass(frozen=True)
class NodeFinished:
    """A node has ended after `seconds`: with its writes, with an `error`, or because it `waits` for an answer."""

    node: str
    seconds: float
    error: str = ""
    waits: bool = False


@dataclass(frozen=True)
class Text:
    """A piece of the answer, as it is written; a later draft may replace it."""

    text: str


@dataclass(frozen=True)
class Moved:
    """The run has another status now."""

    status: Status


Event = NodeStarted | NodeFinished | Text | Moved
Listener = Callable[[Event], None]


class Clock:
    """Turns LangGraph's stream of tasks and custom values into events, and measures how long each node took."""

    def __init__(self) -> None:
        """Start with no task under way."""
        self._began: dict[str, float] = {}

    def event(self, mode: str, payload: Any) -> Event | None:
        """Return the event that an item of the stream stands for, if any. Any: LangGraph's items."""
        if mode == "custom":
            return Text(str(payload["text"])) if "text" in payload else None
        if payload["name"].startswith("__"):  # LangGraph's own, such as the error handler
            return None
        if "triggers" in payload:
            self._began[payload["id"]] = time.monotonic()
            return NodeStarted(payload["name"])
        now = time.monotonic()
        seconds = now - self._began.pop(payload["id"], now)
        error = redact(str(payload["error"])) if payload.get("error") else ""
        return NodeFinished(payload["name"], seconds, error, waits=bool(payload.get("interrupts")))


class Listeners:
    """Who follows which run in this process."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._queues: dict[str, list[list[Event]]] = {}
        self._arrived = asyncio.Event()

    def of(self, run: Run, listener: Listener | None) -> Listener:
        """Return who hears what an attempt of the run does."""

        def tell(event: Event) -> None:
            if listener:
                listener(event)
            for queue in self._queues.get(run.run_id, ()):
                queue.append(event)
            if run.run_id in self._queues:
                self._arrived.set()
                self._arrived = asyncio.Event()

        return tell

    async def follow(self, run: str, ledger: Ledger) -> AsyncIterator[Event]:
        """Yield the run's events, and its status whenever that has changed, until it is over or waits."""
        queue: list[Event] = []
        self._queues.setdefault(run, []).append(queue)
        try:
            status: Status | None = None
            while True:
                seen, arrived = ledger.store.ticks, self._arrived
                found = await ledger.find(run)
                if found and status is None and found.status in {"queued", "running"}:
                    status = found.status  # what was done meanwhile came after it
                    yield Moved(status)
                while queue:
                    yield queue.pop(0)
                if found is None:
                    return
                if found.status != status:
                    status = found.status
                    yield Moved(status)
                if status not in {"queued", "running"}:
                    return
                await _first(ledger.store.changes(seen, PAUSE), arrived.wait())
        finally:
            self._queues[run].remove(queue)
            if not self._queues[run]:
                del self._queues[run]


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when one of them does, and end the others."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(*tasks)
