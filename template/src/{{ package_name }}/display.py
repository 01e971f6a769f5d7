"""How a run looks: lines for a terminal, plain lines without one, or an object a line for a program."""

import json
import sys
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .errors import PROGRAM
from .runs import Event, NodeFinished, NodeStarted, Text, ThreadId, ThreadStatus


class Display(Protocol):
    """Shows a run from its thread id to its end. The answer goes to stdout, the progress to stderr."""

    def begin(self, thread: ThreadId) -> None:
        """Show which thread runs: after a crash this is what the user needs."""

    def event(self, event: Event) -> None:
        """Show what happens."""

    def end(self, status: ThreadStatus) -> None:
        """Show how it ended."""


class Lines:
    """For people. In a terminal the draft streams as it is written."""

    def __init__(self) -> None:
        """Look whether stderr is a terminal."""
        self._progress = Console(stderr=True, highlight=False, soft_wrap=True)
        self._spinner = self._progress.status("")
        self._in_text = False

    def begin(self, thread: ThreadId) -> None:
        """Show the thread's id."""
        self._progress.print(f"[dim]thread[/] {thread}")

    def event(self, event: Event) -> None:
        """Show a node's name with its time when it ends, and the draft while it is written."""
        match event:
            case Text(text) if self._progress.is_terminal:
                self._spinner.stop()
                self._progress.print(escape(text), end="", style="dim")
                self._in_text = True
            case NodeStarted(node) if self._progress.is_terminal:
                self._spinner.update(f"{node} ...")
                self._spinner.start()
            case NodeFinished(node, seconds, error, waits):
                self._spinner.stop()
                if self._in_text:
                    self._progress.print()
                    self._in_text = False
                mark = "[red]x[/]" if error else "[yellow]?[/]" if waits else "[green]+[/]"
                self._progress.print(f"{mark} {node} {seconds:.2f}s{' ' + escape(error) if error else ''}")

    def end(self, status: ThreadStatus) -> None:
        """Print the answer, or what the run waits for, or why it failed."""
        self._spinner.stop()
        out = Console(highlight=False, soft_wrap=True)
        for question in status.questions if status.condition == "waiting" else ():
            out.print(escape(readable(question.payload)))
            self._progress.print(f'waits for an answer: {PROGRAM} answer {status.thread_id} yes|no|"what to change"')
        if status.condition in {"failed", "cancelled"}:
            self._progress.print(f"[red]{status.condition}:[/] {escape(status.error)}")
        elif status.condition == "queued":
            self._progress.print("queued: a worker takes it up")
        elif status.condition == "done":
            verdict = status.values.get("verdict")
            if verdict == "rejected":
                self._progress.print("refused: the answer was not delivered")
            else:
                out.print(escape(str(status.values.get("answer", ""))))


class JsonLines:
    """For programs: one object a line on stdout, each with its `event`."""

    def begin(self, thread: ThreadId) -> None:
        """Write the thread's id."""
        write_line({"event": "thread", "thread_id": thread})

    def event(self, event: Event) -> None:
        """Write what happens."""
        match event:
            case Text(text):
                write_line({"event": "text", "text": text})
            case NodeStarted(node):
                write_line({"event": "node_started", "node": node})
            case NodeFinished(node, seconds, error, waits):
                write_line(
                    {
                        "event": "node_finished",
                        "node": node,
                        "seconds": round(seconds, 4),
                        "error": error,
                        "waits": waits,
                    }
                )

    def end(self, status: ThreadStatus) -> None:
        """Write the thread's condition and the output part of its state."""
        write_line({"event": "end", **summary(status)})


def summary(status: ThreadStatus) -> dict[str, Any]:
    """Return a status as plain data, without the messages (Any: what JSON can hold)."""
    shown = {key: status.values[key] for key in ("verdict", "answer", "citations", "failure") if key in status.values}
    if status.error:
        shown["failure"] = status.error
    return {
        "thread_id": status.thread_id,
        "run_id": status.run_id,
        "condition": status.condition,
        "step": status.step,
        "updated": status.updated,
        "next": list(status.next),
        "waits_for": [question.payload for question in status.questions],
        **shown,
    }


def show_rows(head: list[str], rows: list[list[Any]], facts: list[dict[str, Any]], as_json: bool) -> None:
    """Print a table, or the facts as an object a line. Any: what can be printed, and what JSON can hold."""
    if as_json:
        for fact in facts:
            write_line(fact)
        return
    table = Table(*head, box=None, show_header=any(head))
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # characters; without a terminal a line is for a program or a log
    console.print(table)


def readable(value: object) -> str:
    """Return what JSON can hold as lines for a person."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {readable(part)}" for key, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def write_line(line: dict[str, Any]) -> None:  # Any: what JSON can hold
    """Write an object to stdout at once: a pipe's reader sees it when it happens."""
    sys.stdout.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def thread_bar(console: Console) -> Progress:
    """Return a progress bar over threads, which only a terminal shows."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("threads"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
