"""The command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 waiting for an answer, 130 stopped by Ctrl-C."""

import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer
from dotenv import load_dotenv
from pydantic import ValidationError

from . import maintenance
from .agent import AgentSettings, check, new_input
from .display import Display, JsonLines, Lines, show_rows, summary
from .errors import PROGRAM, ProjectError
from .invocation import EXIT, STOPPED, WRONG_USAGE, AsJson, fail, load_settings, with_runs
from .runs import Runs, ThreadId, ThreadStatus, new_thread_id, thread_id

logger = logging.getLogger(__name__)

Thread = Annotated[str, typer.Argument(metavar="ID", help="The thread's id, as `threads` lists it.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Rows at most.")]

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help="Run and look after the agent."
)
app.add_typer(maintenance.app)


def main() -> None:
    """Run the command line: an error that a person can mend is one line and exit code 2, never a traceback."""
    # An orchestrator's SIGTERM ends a run as Ctrl-C does; as process 1 of a container it would be ignored otherwise.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        load_dotenv(Path(".env"))  # the libraries of model providers look for their keys in the environment
        app(prog_name=PROGRAM)
    except ProjectError as error:
        fail(str(error), WRONG_USAGE)
    except ValidationError as error:
        problems = "; ".join(
            f"{'_'.join(map(str, e['loc'])).upper() or 'settings'}: {e['msg']}" for e in error.errors()
        )
        fail(f"{problems}. See .env.example", WRONG_USAGE)
    except Exception as error:
        logger.debug("unexpected", exc_info=True)
        fail(f"{type(error).__name__}: {error} (LOG_LEVEL=DEBUG shows where)", EXIT["failed"])


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
    settings = load_settings(**({} if docs is None else {"docs": docs}))
    payload = new_input(question, approval=approve)
    check(settings)
    id_ = new_thread_id("ask", "cli") if thread is None else thread_id(thread)
    _drive(settings, id_, as_json, lambda runs, show: runs.start(payload, thread=id_, listener=show.event))


@app.command()
def resume(thread: Thread, as_json: AsJson = False) -> None:
    """Go on with a run that stopped in the middle."""
    id_ = thread_id(thread)
    settings = load_settings()
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
    settings = load_settings()
    check(settings)  # as in resume
    _drive(settings, id_, as_json, lambda runs, show: runs.answer(id_, text, listener=show.event))


@app.command()
def threads(limit: Limit = 20, as_json: AsJson = False) -> None:
    """List the threads that changed last."""
    found = with_runs(load_settings(), lambda runs: runs.threads(limit))
    rows = [
        [status.thread_id, status.condition, status.step, status.updated, ", ".join(status.next)] for status in found
    ]
    show_rows(["thread", "condition", "step", "updated", "next"], rows, [summary(status) for status in found], as_json)


@app.command()
def show(thread: Thread, as_json: AsJson = False) -> None:
    """Show what a thread is doing, what it waits for, and the command that goes on."""
    id_ = thread_id(thread)
    status = with_runs(load_settings(), lambda runs: runs.status(id_))
    facts = summary(status) | {"command": _next_command(status)}
    show_rows(["", ""], [[key, value] for key, value in facts.items() if value not in ("", [])], [facts], as_json)


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
    found = with_runs(load_settings(), lambda runs: runs.history(id_, before=before, limit=limit))
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
    show_rows(["checkpoint", "step", "created", "next", "verdict"], rows, facts, as_json)


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
        status = with_runs(settings, shown)
    except KeyboardInterrupt:
        fail(f"stopped; {_remedy(thread, begun)}", STOPPED)
    except ProjectError:
        raise
    except Exception as error:
        logger.debug("the run was cut off", exc_info=True)
        fail(f"cut off by {type(error).__name__}: {error}; {_remedy(thread, begun)}", EXIT["failed"])
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
