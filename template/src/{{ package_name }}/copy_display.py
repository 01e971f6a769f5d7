"""How a copy of threads looks: a line for each that needs a look, a progress bar on a terminal, and the sum."""

from collections import Counter

from rich.console import Console

from .display import thread_bar, write_line
from .runs import Copied, Looked, Outcome

QUIET: frozenset[Outcome] = frozenset({"copied", "there"})
"""What a thread needs no line for."""


class CopyLines:
    """For people and for logs."""

    def __init__(self) -> None:
        """Look whether stderr is a terminal."""
        self._aside = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
        self._out = Console(highlight=False, soft_wrap=True, markup=False)
        self.bar = thread_bar(self._aside)
        self._task = self.bar.add_task("copy", total=None)

    def event(self, event: Copied | Looked) -> None:
        """Move the bar, or print what became of a thread."""
        if isinstance(event, Looked):
            self.bar.update(self._task, completed=event.threads, total=event.about)
        elif event.outcome not in QUIET:
            self._out.print(f"{event.outcome}: {event.thread_id}: {event.text}")

    def end(self, outcomes: Counter[Outcome]) -> None:
        """Print the sum."""
        sums = ", ".join(f"{number} {outcome}" for outcome, number in sorted(outcomes.items())) or "none"
        self._aside.print(f"threads: {sums}")


def write_copied(event: Copied | Looked) -> None:
    """Write what became of a thread, for programs."""
    if isinstance(event, Copied):
        write_line({"thread_id": event.thread_id, "outcome": event.outcome, "text": event.text})
