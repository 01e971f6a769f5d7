"""A question that nobody answers expires: that is on record, and what it held up does not happen."""

import operator
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypedDict

import psycopg
import pytest
from acme_agent.agent import AgentSettings, new_input
from acme_agent.agent.offline_scenarios import EXAMPLES
from acme_agent.persistence import open_checkpointer, open_ledger
from acme_agent.runs import Action, Purged, Runs, WrongRequest, retention
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from pydantic import SecretStr

QUESTION = "How many books may a member borrow?"
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


class Branches(TypedDict):
    notes: Annotated[list[str], operator.add]


def threads_in(connection: psycopg.Connection[Any]) -> set[str]:
    """Return the ids that any row has."""
    query = " UNION ".join(f"SELECT thread_id FROM {table}" for table in TABLES)
    return {row[0] for row in connection.execute(query)}


async def purge(runs: Runs, *, after: timedelta) -> tuple[Purged, list[Action]]:
    """Purge as it would be done `after` some time from now."""
    actions: list[Action] = []

    def keep(event: object) -> None:
        if isinstance(event, Action):
            actions.append(event)

    return await runs.purge(now=datetime.now(UTC) + after, listener=keep), actions


async def test_unanswered_thread_expires_with_a_record_and_then_ages(
    open_with: Callable[..., Any], connection: psycopg.Connection[Any]
) -> None:
    async with open_with(audit_window_days=30, paused_ttl_days=7) as runs:
        await runs.start(new_input(QUESTION, approval=True), thread="t")
        asked_at = (await runs.status("t")).updated
        _, actions = await purge(runs, after=timedelta(days=8))
        assert [(action.kind, action.since) for action in actions] == [("expired", asked_at)]
        status = await runs.status("t")
        assert (status.condition, status.next, status.interrupts) == ("failed", (), ())
        assert asked_at in status.expired
        assert "A member may borrow" in status.expired  # what was asked
        with pytest.raises(WrongRequest, match="unanswered since"):
            await runs.answer("t", "yes")
        with pytest.raises(WrongRequest, match="has finished"):
            await runs.resume("t")
        _, actions = await purge(runs, after=timedelta(days=8))
        assert actions == []
        assert (await runs.start(new_input(QUESTION), thread="t")).condition == "done"
        assert not (await runs.status("t")).expired

        await runs.start(new_input(QUESTION, approval=True), thread="t")
        await purge(runs, after=timedelta(days=8))
        _, actions = await purge(runs, after=timedelta(days=31))
        assert [action.kind for action in actions] == ["deleted"]
        assert threads_in(connection) == set()


def fan_out(saver: Any) -> Any:
    """A graph whose finished branch releases another node, once the branch that asks is done. Any: a compiled graph."""

    async def work(_: Branches) -> Branches:
        return {"notes": ["worked"]}

    async def ask(_: Branches) -> Branches:
        return {"notes": [interrupt("really?")]}

    async def after(_: Branches) -> Branches:
        return {"notes": ["after"]}

    graph: Any = StateGraph(Branches)  # Any: as above
    graph.add_node("work", work)
    graph.add_node("ask", ask)
    graph.add_node("after", after)
    graph.add_edge(START, "work")
    graph.add_edge(START, "ask")
    graph.add_edge("work", "after")
    return graph.compile(checkpointer=saver)


@pytest.mark.parametrize("clearings", [10, 1], ids=["cleared", "killed half-way"])
async def test_expired_thread_does_nothing_more(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clearings: int
) -> None:
    """A branch that has finished is kept, and what it would have led to does not happen."""
    if clearings == 1:
        monkeypatch.setattr(retention, "CLEARINGS", 1)
    settings = AgentSettings(
        _env_file=None, database_url=SecretStr(database), data_dir=tmp_path, docs=EXAMPLES, paused_ttl_days=1
    )
    async with open_checkpointer(database, settings=settings) as saver:
        graph = fan_out(saver)
        runs = Runs(graph, settings, open_ledger(saver))
        assert (await runs.start({"notes": ["in"]}, thread="t")).condition == "waiting"
        await purge(runs, after=timedelta(days=2))
        status = await runs.status("t")
        assert (status.condition, status.values["notes"]) == ("failed", ["in", "worked"])
        assert status.next == (() if clearings > 1 else ("after",))
        with pytest.raises(WrongRequest, match="has finished"):
            await runs.resume("t")
        if clearings > 1:
            await graph.ainvoke(None, {"configurable": {"thread_id": "t"}})  # LangGraph itself, without our status
            assert (await runs.status("t")).values["notes"] == ["in", "worked"]
        assert (await runs.start({"notes": ["again"]}, thread="t")).condition == "waiting"
