"""The command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 waiting for an answer, 130 stopped by Ctrl-C."""

import asyncio
import json
import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from dotenv import load_dotenv
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import persistence
from .agent import AgentSettings, check, new_input
from .diagnosis import diagnose
from .display import Display, JsonLines, Lines, summary
from .errors import PROGRAM, ProjectError
from .runs import Runs, ThreadId, ThreadStatus, configure_logging, new_thread_id, open_runs, thread_id
from .settings import redact

logger = logging.getLogger(__name__)

EXIT = {"done": 0, "failed": 1, "unfinished": 1, "waiting": 3}
WRONG_USAGE = 2
STOPPED = 130

T = TypeVar("T")
Thread = Annotated[str, typer.Argument(metavar="ID", help="The thread's id, as `threads` lists it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON object a line.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Rows at most.")]

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help="Run and look after the agent."
)


def main() -> None:
    """Run the command line: an error that a person can mend is one line and exit code 2, never a traceback."""
    # An orchestrator's SIGTERM ends a run as Ctrl-C does; as process 1 of a container it would be ignored otherwise.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        load_dotenv(Path(".env"))  # the libraries of model providers look for their keys in the environment
        app(prog_name=PROGRAM)
    except ProjectError as error:
        _fail(str(error), WRONG_USAGE)
    except ValidationError as error:
        problems = "; ".join(
            f"{'_'.join(map(str, e['loc'])).upper() or 'settings'}: {e['msg']}" for e in error.errors()
        )
        _fail(f"{problems}. See .env.example", WRONG_USAGE)
    except Exception as error:
        logger.debug("unexpected", exc_info=True)
        _fail(f"{type(error).__name__}: {error} (LOG_LEVEL=DEBUG shows where)", EXIT["failed"])


@app.command()
def run(
    question: Annotated[str, typer.Argument(help="What to ask, in quotes.")],
    docs: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of documents, instead of DOCS.")] = None,
    thread: Annotated[
        str | None, typer.Option("--thread-id", metavar="ID", help="Thread to start or go on with.")
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Ask before the answer is delivered.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a question on a new thread, or a further one on a thread that has finished."""
    settings = _settings(**({} if docs is None else {"docs": docs}))
    payload = new_input(question, approval=approve)
    check(settings)
    id_ = new_thread_id("ask", "cli") if thread is None else thread_id(thread)
    _drive(settings, id_, as_json, lambda runs, show: runs.start(payload, thread=id_, listener=show.event))


@app.command()
def resume(thread: Thread, as_json: AsJson = False) -> None:
    """Go on with a run that stopped in the middle."""
    id_ = thread_id(thread)
    settings = _settings()
    check(settings)  # a node that cannot work would end the run for good
    _drive(settings, id_, as_json, lambda runs, show: runs.resume(id_, listener=show.event))


@app.command()
def answer(
    thread: Thread,
    text: Annotated[str, typer.Argument(metavar="ANSWER", help="yes, no, or what to change.")],
    as_json: AsJson = False,
) -> None:
    """Answer the question that a thread waits with."""
    id_ = thread_id(thread)
    if not text.strip():
        raise ProjectError(f"the answer is empty: `{PROGRAM} answer {id_} yes`, no, or a text in quotes")
    settings = _settings()
    check(settings)  # as in resume
    _drive(settings, id_, as_json, lambda runs, show: runs.answer(id_, text, listener=show.event))


@app.command()
def threads(limit: Limit = 20, as_json: AsJson = False) -> None:
    """List the threads that changed last."""
    found = _with_runs(_settings(), lambda runs: runs.threads(limit))
    rows = [
        [status.thread_id, status.condition, status.step, status.updated, ", ".join(status.next)] for status in found
    ]
    _show_rows(["thread", "condition", "step", "updated", "next"], rows, [summary(status) for status in found], as_json)


@app.command()
def show(thread: Thread, as_json: AsJson = False) -> None:
    """Show what a thread is doing, what it waits for, and the command that goes on."""
    id_ = thread_id(thread)
    status = _with_runs(_settings(), lambda runs: runs.status(id_))
    facts = summary(status) | {"command": _next_command(status)}
    _show_rows(["", ""], [[key, value] for key, value in facts.items() if value not in ("", [])], [facts], as_json)


@app.command()
def history(
    thread: Thread,
    before: Annotated[
        str | None, typer.Option(metavar="CHECKPOINT", help="Only checkpoints older than this one.")
    ] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List a thread's checkpoints, newest first."""
    id_ = thread_id(thread)
    found = _with_runs(_settings(), lambda runs: runs.history(id_, before=before, limit=limit))
    facts = [
        {
            "checkpoint": snapshot.config["configurable"]["checkpoint_id"],
            "step": (snapshot.metadata or {}).get("step"),
            "created": snapshot.created_at,
            "next": list(snapshot.next),
            "verdict": snapshot.values.get("verdict", ""),
        }
        for snapshot in found
    ]
    rows = [
        [str(value) if not isinstance(value, list) else ", ".join(value) for value in fact.values()] for fact in facts
    ]
    _show_rows(["checkpoint", "step", "created", "next", "verdict"], rows, facts, as_json)


@app.command()
def migrate() -> None:
    """Bring the database's tables up to date; safe to run again, and from many machines at once."""
    settings = _settings()
    steps = asyncio.run(persistence.migrate(settings.checkpoint_url, settings=settings))
    Console(stderr=True, highlight=False).print(
        f"migrated: {steps} steps" if steps else "up to date: nothing to migrate"
    )


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check the environment, the settings and the database, and say how to mend what is wrong."""
    findings = asyncio.run(diagnose(_settings()))
    rows = [["ok" if finding.ok else "WRONG", finding.subject, finding.text] for finding in findings]
    _show_rows(["", "what", "found"], rows, [finding.__dict__ for finding in findings], as_json)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(EXIT["failed"])


def _settings(**overrides: Any) -> AgentSettings:  # Any: values of the settings' fields
    settings = AgentSettings(**overrides)
    configure_logging(settings.log_level, settings.log_format)
    return settings


def _with_runs(settings: AgentSettings, act: Callable[[Runs], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with open_runs(settings) as runs:
            return await act(runs)

    return asyncio.run(opened())


def _drive(
    settings: AgentSettings, thread: ThreadId, as_json: bool, act: Callable[[Runs, Display], Awaitable[ThreadStatus]]
) -> None:
    """Run and show it; the exit code says how it ended. Whatever stops it, the thread can be gone on with."""
    display: Display = JsonLines() if as_json else Lines()
    begun = False

    async def shown(runs: Runs) -> ThreadStatus:
        nonlocal begun
        begun = True
        display.begin(thread)
        status = await act(runs, display)
        display.end(status)
        return status

    try:
        status = _with_runs(settings, shown)
    except KeyboardInterrupt:
        _fail(f"stopped; {_remedy(thread, begun)}", STOPPED)
    except ProjectError:
        raise
    except Exception as error:
        logger.debug("the run was cut off", exc_info=True)
        _fail(f"cut off by {type(error).__name__}: {error}; {_remedy(thread, begun)}", EXIT["failed"])
    raise typer.Exit(EXIT[status.condition])


def _remedy(thread: ThreadId, begun: bool) -> str:
    return f"go on with: {PROGRAM} resume {thread}" if begun else "nothing was begun: type the command again"


def _next_command(status: ThreadStatus) -> str:
    match status.condition:
        case "waiting":
            return f'{PROGRAM} answer {status.thread_id} yes|no|"what to change"'
        case "unfinished":
            return f"{PROGRAM} resume {status.thread_id}"
        case _:
            return f'{PROGRAM} run "..." --thread-id {status.thread_id}'


def _show_rows(head: list[str], rows: list[list[Any]], facts: list[dict[str, Any]], as_json: bool) -> None:
    """Print a table, or the facts as an object a line. Any: what can be printed, and what JSON can hold."""
    if as_json:
        for fact in facts:
            typer.echo(json.dumps(fact, ensure_ascii=False, default=str))
        return
    table = Table(*head, box=None, show_header=any(head))
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # characters; without a terminal a line is for a program or a log
    console.print(table)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(redact(f"{PROGRAM}: {message}"), err=True)
    raise SystemExit(code)
