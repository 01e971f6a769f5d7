"""`show`: all that a person needs to know about a thread, and the command to type next."""

from __future__ import annotations  # Shell has a name for mypy only

import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from plumbing.conftest import Shell  # tests are not a package: nothing can be imported from there

QUESTION = "How many books may a member borrow?"


def shown(shell: Shell, thread: str) -> dict[str, Any]:
    """Return what `show --json` prints."""
    assert shell("show", thread, "--json") == 0
    (facts,) = shell.objects()
    return facts


def test_a_thread_that_waits(
    server: Shell, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPROVAL_HOURS", "2")
    server("run", QUESTION, "--approve", "--thread-id", "t")
    row = connection.execute("SELECT question_id FROM agent_questions").fetchone()
    assert row
    facts = shown(server, "t")
    assert facts["condition"] == "waiting"
    (question,) = facts["waits_for"]
    assert (question["question"], question["by"]) == (row[0], "approve")
    assert question["until"] > question["asked"] > ""
    assert "A member may borrow" in str(question["what"])
    assert [entry["kind"] for entry in facts["audit"]] == ["asked"]
    assert facts["command"].startswith("acme-agent answer t yes")
    assert server("show", "t") == 0
    for text in (row[0], question["until"], "asked", "acme-agent answer t yes"):
        assert text in server.out


def test_the_audit_tells_who_did_what(server: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    server("run", QUESTION, "--approve", "--thread-id", "t")
    monkeypatch.setenv("ACTOR", "jo")
    server("answer", "t", "yes")
    facts = shown(server, "t")
    assert [(entry["kind"], entry["actor"]) for entry in facts["audit"]] == [("asked", "approve"), ("answered", "jo")]
    assert facts["command"].startswith("acme-agent run")
    assert facts["attempts"] == 3  # claimed, answered, claimed


def test_a_thread_that_is_executed(
    server: Shell, client: Callable[..., subprocess.Popen[str]], database: str, connection: psycopg.Connection[Any]
) -> None:
    process = client("t", database)
    facts = shown(server, "t")
    assert facts["condition"] == "running"
    assert facts["executed_by"].startswith(f"process {process.pid} on ")
    assert facts["sign_of_life"].endswith(" ago")
    assert facts["next"] == ["plan"]
    assert facts["command"] == "acme-agent cancel t"
    connection.execute(
        "INSERT INTO agent_runs (run_id, thread_id, status, accepted_at, changed_at) "
        "VALUES ('second', 't', 'queued', now(), now())"
    )
    assert shown(server, "t")["behind"][0].startswith("second queued since ")
    process.kill()
    process.wait()
    facts = shown(server, "t")
    assert facts["condition"] == "unfinished"
    assert facts["command"] == "acme-agent resume t"


def test_a_thread_that_failed_or_crashed(server: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL", "scripted:never-satisfied")
    server("run", QUESTION, "--thread-id", "t")
    facts = shown(server, "t")
    assert "not approved after 3 revisions" in facts["failure"]
    assert (facts["attempts"], facts["crashes"], facts["retries"]) == (1, 0, 0)
    assert server("show", "t") == 0
    assert "crashes" not in server.out  # what is nothing is left out for people


def test_a_thread_in_a_file(shell: Shell) -> None:
    shell("run", QUESTION, "--approve", "--thread-id", "t")
    assert shown(shell, "t")["waits_for"][0]["by"] == "approve"
