"""R01 durable backend: production opens a durable checkpointer or none, and it keeps LangGraph's contract."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate

from ..agent import AgentSettings
from ..errors import ProjectError
from ..persistence import open_checkpointer
from ..persistence.urls import backend_of
from ..rooms import optional
from .engine.check import Check, Exam, Place
from .source.fallbacks import fallbacks, in_memory
from .source.nodes import files
from .source.production_settings import BACKEND, FILE, SERVER, refused

CHECK = Check(
    id="R01",
    title="durable backend",
    holds="with ENVIRONMENT=production the settings take only a durable database that suits the number of processes,"
    " no code of the package makes a checkpointer in memory or goes on without the one that it could not open,"
    " a server that keeps nothing is refused when it is opened, and the checkpointer passes LangGraph's own"
    " conformance suite on every backend of the project.",
    why="a thread that is kept in memory, in a folder that is emptied, or in a file that the next machine does not"
    " have is lost, and nothing says so before somebody looks for it.",
    remedy="open the runs with `open_runs(settings)` and let its errors end the process, whose supervisor starts it"
    " again; keep the validator of `settings.py`; set DATABASE_URL to a server. If the conformance suite fails,"
    " go back to the versions that `uv.lock` named, or take the template's release that knows the new ones: `uvx"
    " copier update`.",
    fact="of seventeen templates two go on in memory, or without a checkpointer, when the database cannot be opened,"
    " in production too, and one makes a new saver in memory for each request. The conformance suite's own"
    " `conformance_level()` calls a checkpointer complete that does nothing at all; one of LangGraph's official"
    " checkpointers does not pass it.",
    not_covered="volumes that a deployment does not keep, a branch"
    " other than `except` that compiles the graph without a checkpointer, and stores, which hold no threads.",
)

_LOCAL = {host: SERVER.replace("db.internal", host) for host in ("localhost", "127.0.0.1") if "db.internal" in SERVER}
LOST: dict[str, dict[str, Any]] = {  # Any: values of settings
    "no DATABASE_URL": {"database_url": ""},
    "SQLite in memory": {"database_url": "sqlite:///:memory:"},
    "SQLite below /tmp": {"database_url": "sqlite:////tmp/threads.db"},
    "SQLite below /dev/shm": {"database_url": "sqlite:////dev/shm/threads.db"},
    "SQLite and REPLICAS=3": {"database_url": FILE, "replicas": 3},
    **{f"a server on {host}": {"database_url": url} for host, url in _LOCAL.items()},
    **{f"a DATABASE_DIRECT_URL on {host}": {"database_direct_url": url} for host, url in _LOCAL.items()},
    "this process's memory": {"database_url": "memory://"},
    "a scheme that nobody knows": {"database_url": "nowhere://"},
}
"""What production must refuse."""


def test_production_refuses_what_is_lost(exam: Exam) -> None:
    """The settings, with the team's own, take a durable database and nothing else."""
    place = Place.of(AgentSettings)
    said = [refused(database_url=url) for url in (SERVER, FILE)]
    exam.require("" in said, f"production takes no database at all: {said[0]}", place)
    for what, values in LOST.items():
        exam.look("settings")
        exam.require(refused(**values), f"ENVIRONMENT=production takes {what}", place)


def test_nothing_falls_back(exam: Exam) -> None:
    """No code makes a checkpointer in memory, or goes on when the durable one cannot be opened."""
    for file in files():
        exam.look("files")
        for what, place in [*in_memory(file), *fallbacks(file)]:
            exam.find(what, place)


async def test_server_that_keeps_nothing_is_refused(tmp_path: Path, exam: Exam) -> None:
    """Where a server may keep what it is given, or not, the checkpointer asks it before it is used."""
    room = optional(f"readiness.servers.{BACKEND.BACKEND}_careless")
    if room is None:
        return
    for what, server in room.CARELESS.items():
        with server() as url:
            exam.look("servers")
            try:
                async with open_checkpointer(url, settings=AgentSettings(data_dir=tmp_path)):
                    exam.find(f"{what} is taken for a durable one")
            except ProjectError:
                continue


async def test_checkpointer_conforms(database_url: str, tmp_path: Path, exam: Exam) -> None:
    """Every case of the suite that the backend has is passed, and none of the contract's base is missing."""
    settings = AgentSettings(data_dir=tmp_path)

    @checkpointer_test(name="the project's")
    async def opened() -> AsyncIterator[BaseCheckpointSaver[str]]:
        async with open_checkpointer(database_url, settings=settings) as saver:
            yield saver

    report = await validate(opened)
    for name, result in report.results.items():
        exam.look("capabilities")
        for failure in result.failures or []:
            exam.find(f"{database_url.partition(':')[0]}: {name}: {failure}")
    # Not `conformance_level()`, which calls a checkpointer complete that does nothing at all.
    exam.require(report.passed_all_base(), "a part of the contract that every checkpointer has is missing")
    prunes = report.results["prune"].detected
    exam.require(prunes is backend_of(database_url).PRUNES, f"it {'prunes' if prunes else 'does not prune'} threads")
