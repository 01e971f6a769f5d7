"""The command `record`: keep today's runs in flight, for later releases to go on with (R14)."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from ..agent import scenarios
from ..runs.config import project_version
from .playing.inflight import FOLDER, file_of, record

app = typer.Typer()


@app.command(name="record")
def record_release(
    release: Annotated[str, typer.Option(metavar="NAME", help="The release; this project's version if left out.")] = "",
    folder: Annotated[Path, typer.Option(metavar="DIR", file_okay=False, help="Where releases are kept.")] = FOLDER,
) -> None:
    """Record every scenario, superstep by superstep, at a release: check R14 goes on with each on later code."""
    release = release or project_version()
    into = folder / release
    packed = {file_of(scenario.name): asyncio.run(_recorded(scenario.name, release)) for scenario in scenarios()}
    into.mkdir(parents=True, exist_ok=True)
    for file in into.iterdir():
        file.unlink()
    for name, data in packed.items():
        (into / name).write_bytes(data)
    size = sum(map(len, packed.values()))
    typer.echo(f"recorded {len(packed)} scenarios, {size / 1000:.0f} kB: git add {into}", err=True)


async def _recorded(name: str, release: str) -> bytes:
    scenario = next(scenario for scenario in scenarios() if scenario.name == name)
    with tempfile.TemporaryDirectory() as folder:
        return await record(scenario, release, Path(folder))
