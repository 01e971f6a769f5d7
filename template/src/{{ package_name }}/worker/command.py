"""The command `worker`. Exit codes: 0 stopped by a signal, 1 something ended it, 2 it could not begin."""

import asyncio
from typing import Annotated

import typer

from ..agent import check
from ..errors import PROGRAM
from ..invocation import EXIT, fail, load_settings
from .errors import WorkerEnded
from .process import work

app = typer.Typer()


@app.command()
def worker(
    concurrency: Annotated[int, typer.Option(min=1, max=10_000, help="Runs at once; most wait for a model.")] = 20,
) -> None:
    """Execute the runs of the queue until SIGTERM or Ctrl-C, which hands over what is under way."""
    settings = load_settings()
    check(settings)  # a node that cannot work would end its run for good

    def ready() -> None:
        typer.echo(f"{PROGRAM}: worker ready, {concurrency} runs at once", err=True)

    try:
        asyncio.run(work(settings, concurrency, ready))
    except WorkerEnded as error:
        fail(str(error), EXIT["failed"])
