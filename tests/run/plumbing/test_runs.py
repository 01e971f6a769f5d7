"""Runs: what a caller may rely on, beyond the command line."""

import json
import logging
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from acme_agent.agent import AgentSettings, State, build_graph, new_input
from acme_agent.agent.offline_scenarios import EXAMPLES
from acme_agent.effects import idempotency_key
from acme_agent.persistence import Ledger, open_checkpointer, open_ledger
from acme_agent.persistence.ledger import Store
from acme_agent.persistence.sqlite_url import sqlite_path
from acme_agent.persistence.urls import normalise
from acme_agent.runs import BadThreadId, Runs, configure_logging, looking, new_thread_id, open_runs, thread_id
from acme_agent.runs.config import graph_version, project_version, run_config
from acme_agent.runs.holder import machine
from acme_agent.runs.threads import job_of
from acme_agent.settings import redact
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import ExecutionInfo

QUESTION = "How many books may a member borrow?"


@pytest.fixture
def agent_settings(tmp_path: Path) -> AgentSettings:
    """The offline model on the example documents, and a file for the threads."""
    return AgentSettings(_env_file=None, data_dir=tmp_path, docs=EXAMPLES, model="offline")


def test_thread_id_tells_the_job() -> None:
    id_ = new_thread_id("ask", "job-7")
    assert re.fullmatch(r"ask-job-7-[0-9a-f]{8}", id_)
    assert job_of(id_) == "job-7"
    assert job_of(thread_id("legacy")) == "legacy"
    assert new_thread_id("ask", "job-7") != id_


@pytest.mark.parametrize("text", ["", "a b", "a\n", "ä", "x" * 201, "../x", "a\0b"])
def test_bad_thread_id_is_refused(text: str) -> None:
    with pytest.raises(BadThreadId, match="1 to 200"):
        thread_id(text)


@pytest.mark.parametrize("text", ["a", "x" * 200, "A.b_c:d-9"])
def test_good_thread_id_is_taken(text: str) -> None:
    assert thread_id(text) == text


@pytest.mark.parametrize("kind", ["", "two-words"])
def test_kind_with_a_dash_is_refused(kind: str) -> None:
    with pytest.raises(BadThreadId, match="kind"):
        new_thread_id(kind, "1")


def test_every_call_gets_a_run_id_of_its_own() -> None:
    """LangGraph takes a repeated run id for a re-entry and ignores the new input."""
    one, two = (run_config(thread_id("t"), str(_), recursion_limit=9, graph_version="v") for _ in range(2))
    assert one["metadata"]["run_id"] != two["metadata"]["run_id"]
    assert one["configurable"]["thread_id"] == "t"
    assert set(one["metadata"]) == {"run_id", "project", "version", "graph_version", "job_id"}
    assert project_version()


def test_graph_version_follows_the_topology() -> None:
    def graph(*nodes: str) -> Any:  # Any: a compiled graph of no interesting type
        built = StateGraph(State)
        for node in nodes:
            built.add_node(node, lambda state: {})
            built.add_edge(START, node)
            built.add_edge(node, END)
        return built.compile()

    assert graph_version(graph("a")) == graph_version(graph("a")) != graph_version(graph("a", "b"))


def test_graph_without_a_checkpointer_is_refused(agent_settings: AgentSettings) -> None:
    with pytest.raises(ValueError, match="open_runs"):
        Runs(build_graph().compile(), agent_settings, Ledger(cast("Store", None)))


async def test_metadata_is_in_checkpoints_and_log_lines(
    agent_settings: AgentSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", "json")

    def listener(event: object) -> None:
        logging.getLogger("team").info("saw %s", type(event).__name__)

    async with open_runs(agent_settings) as runs:
        await runs.start(new_input(QUESTION), thread="ask-job7-00000000", listener=listener)
        history = await runs.history("ask-job7-00000000", limit=1)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    seen = [line for line in lines if line["event"].startswith("saw ")]
    assert seen
    assert {line["thread_id"] for line in seen} == {"ask-job7-00000000"}
    metadata = dict(history[0].metadata or {})
    assert metadata["job_id"] == seen[0]["job_id"] == "job7"
    assert metadata["run_id"] == seen[0]["run_id"]
    assert metadata["graph_version"] == seen[0]["graph_version"]
    assert structlog.contextvars.get_contextvars() == {}


def test_secret_is_blanked_out_of_log_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary-1234567890")
    configure_logging("INFO", "console")
    logging.getLogger("team").info("key %s, postgresql://u:pass@word@h/db", "canary-1234567890")
    err = capsys.readouterr().err
    assert "canary" not in err
    assert "pass@word" not in err


def test_redact_leaves_a_remedy() -> None:
    remedy = "set DATABASE_URL to postgresql://user:password@host:5432/name"
    assert redact(remedy) == remedy
    for secret in ("postgresql://u:password@h/db", "postgresql://u:password@hostile@h/db"):
        assert "password" not in redact(secret)


def test_redact_leaves_ordinary_text() -> None:
    assert (
        redact("see https://example.org/a:b and mail x@example.org")
        == "see https://example.org/a:b and mail x@example.org"
    )


async def test_a_thread_that_is_deleted_while_threads_are_listed_is_left_out(
    agent_settings: AgentSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listed(*_: object) -> list[str]:
        return ["there", "gone"]

    monkeypatch.setattr(looking, "list_threads", listed)
    async with open_runs(agent_settings) as runs:
        await runs.start(new_input(QUESTION), thread="there")
        assert [status.thread_id for status in await runs.threads()] == ["there"]


async def test_unfinished_is_told_from_finished_when_next_is_empty(agent_settings: AgentSettings) -> None:
    """A process that dies between the last task's writes and the last checkpoint leaves `next` empty."""
    url = agent_settings.checkpoint_url
    async with open_checkpointer(url, settings=agent_settings) as saver:
        graph = build_graph().compile(checkpointer=saver)
        async with Runs(graph, agent_settings, open_ledger(saver)) as runs:
            done = await runs.start(new_input(QUESTION), thread="t")
    with closing(sqlite3.connect(sqlite_path(normalise(url)))) as file, file:  # the newest checkpoint never made it
        file.execute("DELETE FROM checkpoints WHERE checkpoint_id = (SELECT max(checkpoint_id) FROM checkpoints)")
        file.execute("UPDATE agent_runs SET status = 'running', holder = ?", (f"{machine()}/999999999/dead",))
    async with open_runs(agent_settings) as runs:
        status = await runs.status("t")
        assert (status.next, status.condition) == ((), "unfinished")
        again = await runs.resume("t")
        assert (again.condition, again.values["answer"]) == ("done", done.values["answer"])


def test_idempotency_key_needs_a_run() -> None:
    def execution(thread: str | None, task: str) -> ExecutionInfo:
        return ExecutionInfo(checkpoint_id="c", checkpoint_ns="n", task_id=task, thread_id=thread)

    key = idempotency_key(execution("t", "1"), "mail")
    assert key == idempotency_key(execution("t", "1"), "mail")
    others = {idempotency_key(execution("t", "2"), "mail"), idempotency_key(execution("u", "1"), "mail")}
    assert key not in others | {idempotency_key(execution("t", "1"), "bill")}
    for nothing in (None, execution(None, "1")):
        with pytest.raises(ValueError, match=r"runtime\.execution_info"):
            idempotency_key(nothing, "mail")
