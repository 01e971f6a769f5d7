"""`memory://`: all that a file can do, for a test, and nothing that anybody could keep threads in by mistake."""

from __future__ import annotations  # Shell has a name for mypy only

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from acme_agent.agent import AgentSettings, new_input
from acme_agent.agent.offline_scenarios import EXAMPLES
from acme_agent.persistence import BadDatabaseUrl, migrate, open_checkpointer
from acme_agent.persistence.sqlite import SqliteSaver
from acme_agent.runs import UnknownThread, open_runs
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from pydantic import SecretStr

if TYPE_CHECKING:
    from plumbing.conftest import Shell  # tests are not a package: nothing can be imported from there

pytestmark = pytest.mark.anyio

URL = "memory://"


@pytest.fixture
def settings(tmp_path: Path) -> AgentSettings:
    return AgentSettings(
        _env_file=None, environment="test", database_url=SecretStr(URL), data_dir=tmp_path / "data", docs=EXAMPLES
    )


async def test_it_passes_the_suite(settings: AgentSettings) -> None:
    @checkpointer_test(name="memory")
    async def opened() -> AsyncIterator[BaseCheckpointSaver[str]]:
        async with open_checkpointer(URL, settings=settings) as saver:
            yield saver

    assert (await validate(opened)).passed_all_base()


async def test_runs_ask_and_end_in_it(settings: AgentSettings) -> None:
    """The ledger is there, too; each one that is opened is another one, and nothing is left on the disk."""
    assert await migrate(URL, settings=settings) == []
    async with open_runs(settings) as runs, open_runs(settings) as others:
        asked = await runs.start(new_input("How many books may a member borrow?", approval=True), thread="t")
        assert [question.node for question in asked.questions] == ["approve"]
        with pytest.raises(UnknownThread):
            await others.status("t")
        assert (await runs.answer("t", "yes")).condition == "done"
    async with open_checkpointer(URL, settings=settings) as saver:
        assert isinstance(saver, SqliteSaver)
        assert await saver.alist_threads(10) == []
    assert not Path(":memory:").exists()  # noqa: ASYNC240 - nobody else uses this event loop
    assert not list(settings.data_dir.rglob("threads.db"))


@pytest.mark.parametrize("environment", ["development", "production"])
def test_it_is_for_tests_alone(shell: Shell, monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("ENVIRONMENT", environment)
    assert shell("run", "How many books may a member borrow?") == 2
    assert "memory://, which loses every thread when the process ends" in shell.err


async def test_it_names_nothing(settings: AgentSettings) -> None:
    with pytest.raises(BadDatabaseUrl, match="something behind memory://"):
        async with open_checkpointer("memory://threads", settings=settings):
            pass
