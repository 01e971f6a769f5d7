"""What a power failure costs with each `appendfsync`: the machine's disk is looked at as it is at that moment."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from acme_agent.persistence import open_checkpointer
from acme_agent.readiness.servers.lifeline import free_port
from acme_agent.readiness.servers.valkey_programs import find_program
from acme_agent.settings import Settings

from .conftest import store, thread
from .disk import after_a_power_failure, mounted, why_not

MOMENTS = [2.4, 2.9]  # seconds after the server is asked first: it flushes once a second
WINDOW = 2.0  # seconds: what the docs say is lost with `everysec`, at worst


@pytest.fixture(scope="session", autouse=True)
def possible(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip all of this where no disk can be mounted."""
    reason = why_not(tmp_path_factory.mktemp("disk"))
    if reason:
        pytest.skip(f"no disk can be mounted here: {reason}")


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_power_failure_costs_two_seconds_at_most(tmp_path: Path, settings: Settings, moment: float) -> None:
    confirmed, failure, kept = await _lose_power(tmp_path / "disk", settings, "everysec", moment)
    lost = [when for name, when in confirmed.items() if name not in kept]
    assert lost, "a disk that loses nothing proves nothing"
    print(f"{len(lost)} of {len(confirmed)} are lost, the oldest of {failure - min(lost):.2f} s before")
    assert failure - min(lost) < WINDOW


async def test_a_power_failure_costs_nothing_if_every_write_is_flushed(tmp_path: Path, settings: Settings) -> None:
    confirmed, _, kept = await _lose_power(tmp_path / "disk", settings, "always", 2.0)
    assert len(confirmed) > 20
    assert confirmed.keys() <= kept


async def _lose_power(
    image: Path, settings: Settings, fsync: str, seconds: float
) -> tuple[dict[str, float], float, set[str]]:
    """Store one thread after the other for so long; return when each was confirmed, the failure, and what is there."""
    confirmed: dict[str, float] = {}
    with mounted(image) as folder:
        async with _server(folder, fsync) as (url, process), open_checkpointer(url, settings=settings) as saver:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                name = f"t{len(confirmed)}"
                await store(saver, name, found="x" * 100)
                confirmed[name] = time.monotonic()
            process.kill()
            failure = time.monotonic()
            after = await asyncio.to_thread(after_a_power_failure, image)
    with mounted(after) as folder:
        async with _server(folder, fsync) as (url, _), open_checkpointer(url, settings=settings) as saver:
            kept = {name for name in confirmed if await saver.aget_tuple(thread(name))}
    return confirmed, failure, kept


@asynccontextmanager
async def _server(folder: Path, fsync: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    port = free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    durable = ["--appendonly", "yes", "--appendfsync", fsync]
    process = await asyncio.create_subprocess_exec(
        find_program(), *options, *durable, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield f"redis://127.0.0.1:{port}/0", process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
