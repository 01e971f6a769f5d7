"""What happens in a run, for whoever watches it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..settings import redact


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


Event = NodeStarted | NodeFinished | Text
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
