"""R01 durable backend: the checkpointer that the project opens keeps what LangGraph asks of one.

LangGraph's own conformance suite, on every backend of the project.
"""

from collections.abc import AsyncIterator
from pathlib import Path

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate

from ..agent import AgentSettings
from ..persistence import open_checkpointer

PRUNING = ("postgresql",)  # schemes whose checkpointer prunes; SQLite's does not


async def test_checkpointer_conforms(database_url: str, tmp_path: Path) -> None:
    """Every case of the suite that the backend has is passed, and none of the contract's base is missing."""
    settings = AgentSettings(data_dir=tmp_path)

    @checkpointer_test(name="the project's")
    async def opened() -> AsyncIterator[BaseCheckpointSaver[str]]:
        async with open_checkpointer(database_url, settings=settings) as saver:
            yield saver

    report = await validate(opened)
    failures = [failure for result in report.results.values() for failure in result.failures or []]
    assert not failures
    # Not `conformance_level()`, which calls a checkpointer complete that does nothing at all.
    assert report.passed_all_base()
    assert report.results["prune"].detected is database_url.startswith(PRUNING)
