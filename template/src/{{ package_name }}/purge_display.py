"""How a purge looks: a line for every action on stdout, and on a terminal a progress bar on stderr."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console

from .display import thread_bar, write_line
from .runs import Action, Looked, Purged


class PurgeDisplay(Protocol):
    """Shows a purge from its policy to its sum."""

    def begin(self, policy: str, *, dry_run: bool) -> AbstractContextManager[None]:
        """Show what the purge goes by; the context is that of the progress bar."""

    def event(self, event: Action | Looked) -> None:
        """Show what was done, or how far it is."""

    def end(self, done: Purged) -> None:
        """Show the sum."""


class PurgeLines:
    """For people and for logs."""

    def __init__(self) -> None:
        """Look whether stderr is a terminal."""
        self._aside = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
        self._out = Console(highlight=False, soft_wrap=True, markup=False)
        self._bar = thread_bar(self._aside)
        self._task = self._bar.add_task("purge", total=None)
        self._dry_run = False

    @contextmanager
    def begin(self, policy: str, *, dry_run: bool) -> Iterator[None]:
        """Say the policy and start the bar."""
        self._dry_run = dry_run
        self._aside.print(f"policy: {policy}")
        with self._bar:
            yield

    def event(self, event: Action | Looked) -> None:
        """Print an action, or move the bar; the number of threads is the planner's guess and never below the truth."""
        match event:
            case Looked(threads, about):
                total = None if about is None else max(about, threads)
                self._bar.update(self._task, completed=threads, total=total)
            case Action(kind, thread, since, rows, text):
                would = "would be " if self._dry_run and kind in {"deleted", "trimmed", "expired"} else ""
                facts = [f"since {since}" if since else "", f"{rows} rows" if rows else "", text]
                self._out.print(f"{would}{kind}: {thread} {', '.join(fact for fact in facts if fact)}".rstrip())

    def end(self, done: Purged) -> None:
        """Print the sum."""
        sums = ", ".join(f"{number} {kind}" for kind, number in sorted(done.actions.items())) or "nothing to do"
        would = "would go" if self._dry_run else "gone"
        self._aside.print(f"purge: {done.threads} threads looked at: {sums}; {done.rows} rows {would}")


class PurgeJsonLines:
    """For programs: one object a line on stdout, each with its `event`."""

    def __init__(self) -> None:
        """Start."""
        self._dry_run = False

    @contextmanager
    def begin(self, policy: str, *, dry_run: bool) -> Iterator[None]:
        """Write the policy."""
        self._dry_run = dry_run
        write_line({"event": "policy", "policy": policy, "dry_run": dry_run})
        yield

    def event(self, event: Action | Looked) -> None:
        """Write an action."""
        if isinstance(event, Action):
            write_line(
                {
                    "event": event.kind,
                    "thread_id": event.thread_id,
                    "since": event.since,
                    "rows": event.rows,
                    "text": event.text,
                    "dry_run": self._dry_run,
                }
            )

    def end(self, done: Purged) -> None:
        """Write the sum."""
        write_line({"event": "end", "threads": done.threads, "rows": done.rows, "actions": dict(done.actions)})
