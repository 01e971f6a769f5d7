"""What every command shares: its settings, the runs it opens, its options, and how it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from .agent import AgentSettings
from .errors import PROGRAM
from .runs import Runs, configure_logging, open_runs
from .settings import redact

EXIT = {"done": 0, "queued": 0, "failed": 1, "unfinished": 1, "running": 1, "cancelled": 1, "waiting": 3}
WRONG_USAGE = 2
STOPPED = 130

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON object a line.")]


def load_settings(**overrides: Any) -> AgentSettings:  # Any: values of the settings' fields
    """Return the settings of the environment, and set the logging up as they say."""
    settings = AgentSettings(**overrides)
    configure_logging(settings.log_level, settings.log_format)
    return settings


def with_runs(settings: AgentSettings, act: Callable[[Runs], Awaitable[T]]) -> T:
    """Open the runs for one act, and close them."""

    async def opened() -> T:
        async with open_runs(settings) as runs:
            return await act(runs)

    return asyncio.run(opened())


def fail(message: str, code: int) -> NoReturn:
    """End with one line on stderr, secrets blanked out."""
    typer.echo(redact(f"{PROGRAM}: {message}"), err=True)
    raise SystemExit(code)
