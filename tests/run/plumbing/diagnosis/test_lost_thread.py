"""`doctor --thread` names where a thread's state has gone after scaling; each way to lose it is gone for real."""

from __future__ import annotations  # Shell has a name for mypy only

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from acme_agent.agent import AgentSettings, State, build_graph, new_input
from acme_agent.diagnosis.environment import in_memory
from acme_agent.persistence import migrate, open_checkpointer, open_ledger
from acme_agent.runs import Runs, new_thread_id
from acme_agent.settings import Settings
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

if TYPE_CHECKING:
    from plumbing.conftest import Shell  # tests are not a package: nothing can be imported from there
    from plumbing.diagnosis.conftest import Doctor

QUESTION = "How many books may a member borrow?"


def test_two_replicas_with_a_local_file_each(
    shell: Shell, doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    assert shell("run", QUESTION, "--thread-id", "t") == 0
    assert doctor.cause("t")[0] == "ok"
    monkeypatch.chdir(tmp_path / "b")
    level, text = doctor.cause("t")
    assert level == "wrong"
    assert text.startswith("different database: this process keeps its threads in a file of its own machine")
    assert str(tmp_path / "b") in doctor("--thread", "t")["place"][0]["text"]


def test_it_stayed_in_the_local_file(
    shell: Shell, doctor: Doctor, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert shell("run", QUESTION, "--thread-id", "t") == 0
    monkeypatch.setenv("DATABASE_URL", database)
    level, text = doctor.cause("t")
    assert level == "wrong"
    assert f"the thread is in the file {tmp_path}/.data/threads.db, which processes without DATABASE_URL use" in text


def test_another_database_of_the_server(
    server: Shell, doctor: Doctor, make_database: Callable[..., str], template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server("run", QUESTION, "--thread-id", "t") == 0
    here = doctor("--thread", "t")["place"][0]["text"]
    name = os.environ["DATABASE_URL"].rpartition("/")[2]
    monkeypatch.setenv("DATABASE_URL", make_database(template))
    found = doctor("--thread", "t")
    (cause,) = found["cause"]
    assert f"different database: the thread is in database {name}, schema public, of this server" in cause["text"]
    there = found["place"][0]["text"]
    assert here.rpartition("identity: ")[2] != there.rpartition("identity: ")[2]  # for who compares two machines
    assert "is in database" not in str(doctor("--thread", "unheard-of")["cause"])


def test_another_schema_of_the_database(server: Shell, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server("run", QUESTION, "--thread-id", "t") == 0
    url = os.environ["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA tenant")
    monkeypatch.setenv("DATABASE_URL", f"{url}?options=-csearch_path%3Dtenant")
    assert server("migrate") == 0
    level, text = doctor.cause("t")
    assert level == "wrong"
    assert "different database: the thread is in schema public of this database" in text


def test_a_process_kept_it_in_memory(server: Shell, doctor: Doctor, agent_settings: AgentSettings) -> None:
    """Its ledger is the right one, its checkpointer is not."""

    async def start() -> None:
        url = agent_settings.checkpoint_url
        async with open_checkpointer(url, settings=agent_settings) as saver:
            graph = build_graph().compile(checkpointer=InMemorySaver())
            async with Runs(graph, agent_settings, open_ledger(saver)) as runs:
                assert (await runs.start(new_input(QUESTION), thread="t")).condition == "done"

    asyncio.run(start())
    causes = [cause["text"] for cause in doctor("--thread", "t")["cause"]]
    assert any(
        f"different checkpointer: process {os.getpid()} on " in text and "was given an InMemorySaver" in text
        for text in causes
    )
    server("run", QUESTION, "--thread-id", "well")
    assert len(doctor("--thread", "well")["cause"]) == 1


def test_a_sub_graph_is_kept_in_memory() -> None:
    def graph(saver: InMemorySaver | None) -> Any:  # Any: a graph of no interesting type
        inner = StateGraph(State)
        inner.add_node("work", lambda state: {})
        inner.add_edge(START, "work")
        outer = StateGraph(State)
        outer.add_node("inner", inner.compile(checkpointer=saver))
        outer.add_edge(START, "inner")
        return outer.compile()

    assert in_memory(graph(InMemorySaver())) == ["inner"]
    assert in_memory(graph(None)) == []


def test_the_tables_were_restored_from_different_backups(
    server: Shell, doctor: Doctor, connection: psycopg.Connection[Any]
) -> None:
    server("run", QUESTION, "--thread-id", "t")
    connection.execute("TRUNCATE checkpoints, checkpoint_blobs, checkpoint_writes")
    causes = [cause["text"] for cause in doctor("--thread", "t")["cause"]]
    assert any("restored from another backup" in text for text in causes)


def test_each_call_has_a_thread_of_its_own(server: Shell, doctor: Doctor) -> None:
    ids = [new_thread_id("ask", "job-7") for _ in range(3)]
    for id_ in ids[:2]:
        server("run", QUESTION, "--thread-id", id_)
    server("run", QUESTION, "--thread-id", new_thread_id("ask", "job-70"))
    level, text = doctor.cause(ids[2])
    assert level == "wrong"
    assert f"changing thread id: job job-7 has 2 other threads, such as {ids[1]}, {ids[0]}" in text
    (finding,) = doctor("--thread", ids[0])["thread ids"]
    assert finding["level"] == "warning"
    server("run", QUESTION)
    server("run", QUESTION)  # these two have no more to do with each other than any
    server("threads", "--limit", "1", "--json")
    assert "thread ids" not in doctor("--thread", server.objects()[0]["thread_id"])


def test_another_version_of_the_graph(server: Shell, doctor: Doctor, agent_settings: AgentSettings) -> None:
    async def newest(state: State) -> dict[str, Any]:
        return {}

    async def start() -> None:
        async with open_checkpointer(agent_settings.checkpoint_url, settings=agent_settings) as saver:
            graph = build_graph()
            graph.add_node("newest", newest)
            graph.add_edge("deliver", "newest")
            async with Runs(graph.compile(checkpointer=saver), agent_settings, open_ledger(saver)) as runs:
                await runs.start(new_input(QUESTION), thread="t")

    asyncio.run(start())
    (finding,) = doctor("--thread", "t")["versions"]
    assert finding["level"] == "warning"
    assert finding["text"].startswith("different graph versions: its runs were accepted by graph ")
    server("run", QUESTION, "--thread-id", "well")
    assert "versions" not in doctor("--thread", "well")


def test_it_was_deleted(server: Shell, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    for thread in ("deleted", "purged"):
        server("run", QUESTION, "--thread-id", thread)
    monkeypatch.setenv("ACTOR", "jo")
    server("delete", "deleted", "--yes")
    assert " by jo." in doctor.cause("deleted")[1]
    monkeypatch.setenv("AUDIT_WINDOW_DAYS", "0.0000001")
    server("purge")
    level, text = doctor.cause("purged")
    assert level == "wrong"
    assert text.startswith("the thread was deleted at ")
    assert "AUDIT_WINDOW_DAYS" in text


def test_nobody_has_ever_heard_of_it(server: Shell, doctor: Doctor) -> None:
    level, text = doctor.cause("unheard-of")
    assert level == "wrong"
    assert "compare the identities" in text
    assert server("doctor", "--thread", "a b") == 2
    assert "is not a thread id" in server.err


async def test_a_thread_of_a_database_without_tables(settings: Settings, empty_database: str) -> None:
    """There the diagnosis is what a migration would say."""
    from acme_agent.diagnosis import diagnose_thread
    from pydantic import SecretStr

    found = await diagnose_thread(
        AgentSettings(_env_file=None, database_url=SecretStr(empty_database), data_dir=settings.data_dir), "t"
    )
    assert [finding.level for finding in found] == ["ok", "ok", "wrong"]
    assert "acme-agent migrate" in found[-1].text
    await migrate(empty_database, settings=settings)
