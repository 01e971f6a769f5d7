"""The commands that look after the database: migrate, doctor, purge, restore, copy-threads. Exit codes as in `cli`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import persistence
from .copy_display import QUIET, CopyLines, write_copied
from .diagnosis import diagnose, diagnose_schema, diagnose_thread, read_settings
from .display import show_rows
from .errors import PROGRAM, ProjectError
from .invocation import EXIT, STOPPED, WRONG_USAGE, AsJson, fail, load_settings, with_runs
from .purge_display import PurgeDisplay, PurgeJsonLines, PurgeLines
from .runs import Policy, Purged, Runs, configure_logging, copy_threads, settings_at

app = typer.Typer()


@app.command()
def migrate() -> None:
    """Bring the database's tables up to date; safe to run again, and from many machines at once."""
    settings = load_settings()
    done = asyncio.run(persistence.migrate(settings.migration_url, settings=settings))
    for line in done or ["up to date: nothing to migrate"]:
        typer.echo(line, err=True)


@app.command()
def doctor(
    thread: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Say why this thread does not go on, or where its state has gone."),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Say who is in the way of a migration, or of a set-up that hangs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the environment, the settings, the database and the runs, and say how to mend what is wrong.

    Exit code 1: something is wrong; a warning is not.
    """
    settings, problems = read_settings()
    configure_logging(settings.log_level, settings.log_format)
    if thread is not None:
        findings = asyncio.run(diagnose_thread(settings, thread, problems))
    else:
        findings = asyncio.run((diagnose_schema if schema else diagnose)(settings, problems))
    words = {"ok": "ok", "warning": "warning", "wrong": "WRONG"}
    rows = [[words[finding.level], finding.subject, finding.text] for finding in findings]
    show_rows(["", "what", "found"], rows, [finding.fact for finding in findings], as_json)
    if any(finding.level == "wrong" for finding in findings):
        raise typer.Exit(EXIT["failed"])


@app.command()
def purge(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: show what would be done.")] = False,
    archive: Annotated[
        Path | None,
        typer.Option(metavar="DIR", file_okay=False, help="Write each thread to a file there before it is deleted."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Delete, shorten and expire old threads as AUDIT_WINDOW_DAYS, HISTORY_KEEP and PAUSED_TTL_DAYS say.

    Exit code 1: a thread could not be read, or a run wrote to a thread that was being deleted.
    """
    settings = load_settings()
    display: PurgeDisplay = PurgeJsonLines() if as_json else PurgeLines()

    async def shown(runs: Runs) -> Purged:
        with display.begin(str(Policy.of(settings)), dry_run=dry_run):
            done = await runs.purge(dry_run=dry_run, archive=archive, listener=display.event)
        display.end(done)
        return done

    try:
        done = with_runs(settings, shown)
    except KeyboardInterrupt:
        fail(f"stopped; no thread is half deleted, `{PROGRAM} purge` goes on", STOPPED)
    if done.wrong:
        raise typer.Exit(EXIT["failed"])


@app.command()
def restore(file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `purge --archive` wrote.")]) -> None:
    """Bring an archived thread back."""
    if not file.is_file():
        raise ProjectError(f"{file} is no file: name one that `{PROGRAM} purge --archive DIR` wrote")
    thread = with_runs(load_settings(), lambda runs: runs.restore(file))
    Console(stderr=True, highlight=False).print(f"restored: {PROGRAM} show {thread}", markup=False, soft_wrap=True)


@app.command("copy-threads")
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM_URL", help="The database to read, which stays as it is.")],
    target: Annotated[str, typer.Argument(metavar="TO_URL", help="The database to write, after `migrate`.")],
    as_json: AsJson = False,
) -> None:
    """Copy all threads into another database, of the same kind or not, with their runs, questions and audit.

    Stop the agents first: a thread at work is left out. Type it again to copy what is missing; what is there stays.
    Exit code 1: a thread was not copied.
    """
    settings = load_settings()
    lines = CopyLines()
    listener = write_copied if as_json else lines.event
    old, new = (settings_at(settings, url) for url in (source, target))
    try:
        with lines.bar:
            outcomes = asyncio.run(copy_threads(old, new, listener))
    except KeyboardInterrupt:
        fail("stopped; no thread is half copied, and the same command goes on", STOPPED)
    except persistence.DatabaseUnreachable as error:
        fail(f"{error}; the same copy-threads goes on then", WRONG_USAGE)
    lines.end(outcomes)
    if outcomes.keys() - QUIET:
        raise typer.Exit(EXIT["failed"])
