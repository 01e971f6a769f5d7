"""What the plumbing's tests share: a real PostgreSQL for the session, a database a test, and a crew of processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import psycopg
import pytest
from acme_agent import cli
from acme_agent.agent import AgentSettings
from acme_agent.agent.offline_scenarios import EXAMPLES
from acme_agent.readiness.servers.postgres_server import create_database, drop_database
from acme_agent.runs import open_runs
from acme_agent.settings import Settings
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from pydantic import SecretStr

CREW_SIZE = 8  # processes
CREW_PATIENCE = 60.0  # seconds

_CREW = """
import asyncio, json, multiprocessing, sys
from langgraph.checkpoint.base import empty_checkpoint
import acme_agent.persistence.postgres_migrate, acme_agent.persistence.sqlite  # imported once, then forked
from acme_agent.persistence import migrate, open_checkpointer
from acme_agent.settings import Settings

size, patience = int(sys.argv[1]), float(sys.argv[2])
settings = Settings(_env_file=None)

async def write(url, thread_id):
    config = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
    async with open_checkpointer(url, settings=settings) as saver:
        return (await saver.aput(config, empty_checkpoint(), {}, {}))["configurable"]["thread_id"]

async def migrate_all(urls):
    return await asyncio.gather(*(migrate(url, settings=settings) for url in urls))

def work(order, url, thread_id):
    start.wait(patience)
    try:
        return asyncio.run(migrate_all(url) if order == "migrate" else write(url, thread_id))
    except Exception as error:
        return f"{type(error).__name__}: {error}"

fork = multiprocessing.get_context("fork")
start = fork.Barrier(size)
with fork.Pool(size) as pool:
    for line in sys.stdin:
        order, url = json.loads(line)
        jobs = [(order, url, f"thread-{number}") for number in range(size)]
        print(json.dumps(pool.starmap_async(work, jobs, chunksize=1).get(patience)), flush=True)
"""


# moto, which plays DynamoDB, takes a hundred times as long as a real server: all tests only if ALL_BACKENDS is set.
ON_MOTO = {"test_copy_threads.py", "test_fence.py", "test_moves.py"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out most of what would run on moto."""
    if not os.environ.get("ALL_BACKENDS"):
        slow = [item for item in items if "[dynamodb" in item.name and item.path.name not in ON_MOTO]
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the defaults, whatever a developer's .env file says, with a small pool."""
    return Settings(_env_file=None, data_dir=tmp_path, database_pool_max=4)


@pytest.fixture(scope="session")
def crew() -> Iterator[Callable[[Literal["migrate", "write"], str | list[str]], list[Any]]]:
    """Eight processes that do the same thing to the same database at the same moment, as often as they are told.

    Each one's result: for databases to migrate, the lines of what it did to each; for one to write to, the id of its
    thread; or the error's text.
    """
    command = [sys.executable, "-c", _CREW, str(CREW_SIZE), str(CREW_PATIENCE)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as leader:

        def all_at_once(order: Literal["migrate", "write"], url: str | list[str]) -> list[Any]:
            assert leader.stdin
            assert leader.stdout
            leader.stdin.write(json.dumps([order, url]) + "\n")
            leader.stdin.flush()
            results: list[Any] = json.loads(leader.stdout.readline())
            return results

        yield all_at_once
        leader.communicate()


@pytest.fixture(scope="session")
def admin_url(postgres_template: tuple[str, str]) -> str:
    """Return the superuser's URL of a real PostgreSQL."""
    return postgres_template[0]


@pytest.fixture(scope="session")
def template(postgres_template: tuple[str, str]) -> str:
    """Return the name of a migrated database to copy: a migration for each test would take longer than the test."""
    return postgres_template[1]


@pytest.fixture
def make_database(admin_url: str) -> Iterator[Callable[..., str]]:
    """Return a function that makes a database, empty or a copy of a `template`; all are dropped in the end."""
    names: list[str] = []

    def make(template: str | None = None) -> str:
        names.append(_new_name())
        return create_database(admin_url, names[-1], template)

    yield make
    for name in names:
        drop_database(admin_url, name)


@pytest.fixture
def empty_database(make_database: Callable[..., str]) -> str:
    """Make a database without any table."""
    return make_database()


@pytest.fixture
def database(make_database: Callable[..., str], template: str) -> str:
    """Make a migrated database of the test's own."""
    return make_database(template)


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    """Connect to the test's own database, for a look at its tables."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Make a database of each kind, ready to use."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/made/on/demand/threads.db"
    database: str = request.getfixturevalue("database")
    return database


@pytest.fixture
def open_with(database: str, tmp_path: Path) -> Callable[..., Any]:
    """Open the example agent's runs under a policy."""

    def opened(**policy: Any) -> Any:
        settings = AgentSettings(
            _env_file=None, database_url=SecretStr(database), data_dir=tmp_path, docs=EXAMPLES, **policy
        )
        return open_runs(settings)

    return opened


def _new_name() -> str:
    return f"test_{uuid4().hex[:12]}"


class Shell:
    """Types commands in an empty folder; `out` and `err` hold what the last one printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> int:
        """Return the exit code."""
        self._monkeypatch.setattr(sys, "argv", ["acme-agent", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err
        return int(caught.value.code or 0)

    def objects(self) -> list[dict[str, Any]]:
        """Return what `--json` printed."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """A shell in an empty folder, with the example documents."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCS", str(EXAMPLES))
    for name in ("DATABASE_URL", "DATABASE_DIRECT_URL", "MODEL", "ENVIRONMENT", "DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    return Shell(capsys, monkeypatch)


def thread(thread_id: str) -> Any:
    """Return the config of a thread's newest checkpoint."""
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


async def store(saver: BaseCheckpointSaver[str], thread_id: str, **values: Any) -> Any:
    """Store a first checkpoint with these channels, and the same values as writes; return its config."""
    checkpoint = empty_checkpoint()
    checkpoint["v"] = 4
    checkpoint["channel_values"] = values
    checkpoint["channel_versions"] = dict.fromkeys(values, "1")
    config = await saver.aput(thread(thread_id), checkpoint, {"source": "loop", "step": 1}, dict.fromkeys(values, "1"))
    await saver.aput_writes(config, list(values.items()), "task")
    return config


async def load(saver: Any, thread_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a thread's channels and its writes."""
    found = await saver.aget_tuple(thread(thread_id))
    assert found
    return found.checkpoint["channel_values"], {channel: value for _, channel, value in found.pending_writes}
