"""What the workers' tests share."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from acme_agent.agent import AgentSettings
from acme_agent.agent.offline_scenarios import EXAMPLES
from acme_agent.runs import open_runs, opening
from pydantic import SecretStr

sys.path.append(str(Path(__file__).parents[2]))  # these tests are no package, and share modules

from plumbing.worker.crew import Client, Crew
from plumbing.worker.worker_process import Journal, build


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    """Worker processes on the graph that follows orders."""
    crew = Crew(tmp_path)
    yield crew
    crew.end()


@pytest.fixture
async def open_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that opens a client of a database; it knows the graph that follows orders, or the example's."""
    async with AsyncExitStack() as stack:

        async def open_(url: str, *, direct: str = "", example: bool = False) -> Client:
            if not example:
                monkeypatch.setattr(opening, "build_graph", lambda: build(Journal(tmp_path / "nobody")))
            settings = AgentSettings(
                _env_file=None,
                database_url=SecretStr(url),
                database_direct_url=SecretStr(direct),
                data_dir=tmp_path,
                docs=EXAMPLES,
                actor="tester",
            )
            return Client(await stack.enter_async_context(open_runs(settings)))

        yield open_


@pytest.fixture
async def client(open_client: Callable[..., Any], database: str) -> Client:
    """The client of the test's own database."""
    opened: Client = await open_client(database)
    return opened
