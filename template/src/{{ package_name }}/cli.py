"""The command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 waiting for an answer, 130 stopped by Ctrl-C."""

import json
import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from dotenv import load_dotenv
from pydantic import ValidationError

from . import maintenance
from .abandoned import resume_abandoned
from .agent import AgentSettings, check, new_input
from .display import Display, JsonLines, Lines, show_rows, summary
from .errors import PROGRAM, ProjectError
from .invocation import EXIT, STOPPED, WRONG_USAGE, AsJson, fail, load_settings, with_runs
from .persistence import Question
from .rooms import optional
from .runs import Runs, ThreadId, ThreadStatus, job_of, new_thread_id, thread_id
from .settings import problems_of
from .thread_display import look_at, next_command, show_thread

logger = logging.getLogger(__name__)

Thread = Annotated[str, typer.Argument(metavar="ID", help="The thread's id, as `threads` lists it.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Rows at most.")]

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help="Run and look after the agent."
)
app.add_typer(maintenance.app)
if _worker := optional("worker.command"):
    app.add_typer(_worker.app)
if _record := optional("readiness.record"):
    app.add_typer(_record.app)


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
        problems = "; ".join(": ".join(filter(None, problem)) for problem in problems_of(error))
        fail(f"{problems}. See .env.example", WRONG_USAGE)
    except Exception as error:
        logger.debug("unexpected", exc_info=True)
        fail(f"{type(error).__name__}: {error} (LOG_LEVEL=DEBUG shows where)", EXIT["failed"])


@app.command()
def run(
    question: Annotated[str, typer.Argument(help="What to ask, in quotes.")],
    *,
    docs: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of documents, instead of DOCS.")] = None,
    thread: Annotated[
        str | None, typer.Option("--thread-id", metavar="ID", help="Thread to start or go on with.")
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Ask before the answer is delivered.")] = False,
    queue: Annotated[bool, typer.Option("--queue", help="Leave it to a worker, and do not wait.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a question on a new thread, or a further one on a thread that has finished."""
    settings = load_settings(**({} if docs is None else {"docs": docs}))
    if queue:
        _check_queue(settings, docs)
    payload = new_input(question, approval=approve)
    check(settings)
    id_ = new_thread_id("ask", "cli") if thread is None else thread_id(thread)
    _drive(settings, id_, as_json, lambda runs, show: runs.start(payload, thread=id_, queue=queue, listener=show.event))


@app.command()
def resume(
    thread: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The thread's id, as `threads` lists it.")
    ] = None,
    abandoned: Annotated[
        bool, typer.Option("--abandoned", help="Go on with every run that nobody executes any more, instead of one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that stopped in the middle."""
    if abandoned == (thread is not None):
        raise ProjectError(f"name one thread, `{PROGRAM} resume ID`, or all that are abandoned, `--abandoned`")
    if thread is None:
        resume_abandoned(as_json=as_json)
        return
    id_ = thread_id(thread)
    settings = load_settings()
    check(settings)  # a node that cannot work would end the run for good
    _drive(settings, id_, as_json, lambda runs, show: runs.resume(id_, listener=show.event))


@app.command()
def answer(
    thread: Thread,
    text: Annotated[str, typer.Argument(metavar="ANSWER", help="yes, no, or what to change.")],
    question: Annotated[
        str | None, typer.Option(metavar="ID", help="Which one, as `threads --waiting` lists them; else the oldest.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer the question that a thread waits with."""
    id_ = thread_id(thread)
    if not text.strip():
        raise ProjectError(f"the answer is empty: `{PROGRAM} answer {id_} yes`, no, or a text in quotes")
    settings = load_settings()
    check(settings)  # as in resume
    _drive(settings, id_, as_json, lambda runs, show: runs.answer(id_, text, question=question, listener=show.event))


@app.command()
def cancel(thread: Thread, as_json: AsJson = False) -> None:
    """Cancel a thread's runs that are not over: whoever executes one stops."""
    id_ = thread_id(thread)
    found = with_runs(load_settings(), lambda runs: runs.cancel(id_))
    facts = [{"run_id": run.run_id, "status": run.status, "error": run.error} for run in found]
    if not facts and not as_json:
        typer.echo(f"thread {id_} has no run that is not over", err=True)
    show_rows(["run", "status", "why"], [list(fact.values()) for fact in facts], facts, as_json)


@app.command()
def replay(
    thread: Thread,
    checkpoint: Annotated[str, typer.Argument(help="Where to go on from, as `history` lists it.")],
    patch: Annotated[str, typer.Option(metavar="JSON", help="Keys of the state with new values.")] = "",
    as_node: Annotated[str | None, typer.Option(metavar="NODE", help="The node that the patch stands for.")] = None,
    as_json: AsJson = False,
) -> None:
    """Go on from an earlier checkpoint of a thread, perhaps with other values there."""
    id_ = thread_id(thread)
    values = _json_object(patch) if patch else None
    settings = load_settings()
    check(settings)
    _drive(
        settings,
        id_,
        as_json,
        lambda runs, show: runs.replay(id_, checkpoint, values, as_node=as_node, listener=show.event),
    )


@app.command()
def fork(
    thread: Thread,
    checkpoint: Annotated[str | None, typer.Argument(help="The last one to copy; all if left out.")] = None,
    to: Annotated[str | None, typer.Option(metavar="ID", help="The new thread.")] = None,
    as_json: AsJson = False,
) -> None:
    """Copy a thread, up to a checkpoint, into a new one."""
    id_ = thread_id(thread)
    new = new_thread_id("fork", job_of(id_)) if to is None else thread_id(to)
    status = with_runs(load_settings(), lambda runs: runs.fork(id_, checkpoint, to=new))
    facts = summary(status) | {"command": next_command(status)}
    show_rows(["", ""], [[key, value] for key, value in facts.items() if value not in ("", [])], [facts], as_json)


@app.command()
def delete(
    thread: Thread, yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether it is meant.")] = False
) -> None:
    """Cancel a thread's runs and delete it; only its audit stays."""
    id_ = thread_id(thread)
    if not yes:
        typer.confirm(f"delete thread {id_} for good?", abort=True, err=True)
    with_runs(load_settings(), lambda runs: runs.delete(id_))
    typer.echo(f"deleted thread {id_}", err=True)


@app.command()
def threads(
    limit: Limit = 20,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Only those that wait for an answer, the oldest question first.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the threads that changed last."""
    if waiting:
        _show_questions(with_runs(load_settings(), lambda runs: runs.waiting(limit)), as_json)
        return
    found = with_runs(load_settings(), lambda runs: runs.threads(limit))
    rows = [
        [status.thread_id, status.condition, status.step, status.updated, ", ".join(status.next)] for status in found
    ]
    show_rows(["thread", "condition", "step", "updated", "next"], rows, [summary(status) for status in found], as_json)


@app.command()
def show(thread: Thread, as_json: AsJson = False) -> None:
    """Show what a thread is doing, what it waits for, and the command that goes on."""
    id_ = thread_id(thread)
    show_thread(with_runs(load_settings(), lambda runs: look_at(runs, id_)), as_json)


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


def _show_questions(found: list[Question], as_json: bool) -> None:
    facts = [
        {
            "thread_id": asked.thread_id,
            "question": asked.question_id,
            "asked": asked.asked_at.isoformat(timespec="seconds"),
            "until": asked.until.isoformat(timespec="seconds") if asked.until else "",
            "node": asked.node,
            "waits_for": asked.payload,
        }
        for asked in found
    ]
    show_rows(
        ["thread", "question", "asked", "until", "by", "what"], [list(fact.values()) for fact in facts], facts, as_json
    )


def _json_object(text: str) -> dict[str, Any]:  # Any: what JSON can hold
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ProjectError(f"--patch is no JSON: {error}") from None
    if not isinstance(values, dict):
        raise ProjectError('--patch is no JSON object: write it as in --patch \'{"key": "value"}\'')
    return values


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


def _check_queue(settings: AgentSettings, docs: Path | None) -> None:
    """Raise if nobody would execute a queued run, or not as it is asked for."""
    room = optional("worker.queue")
    if room is None:
        raise ProjectError("this project has no workers: docs/persistence.md says what adds them")
    if docs:
        raise ProjectError("--docs cannot be given with --queue: a run in the queue has the DOCS of its worker")
    room.check_queue(settings)


def _remedy(thread: ThreadId, begun: bool) -> str:
    return f"go on with: {PROGRAM} resume {thread}" if begun else "nothing was begun: type the command again"
