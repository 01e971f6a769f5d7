"""The command line, as its users live it: every wrong request is one line, exit code 2, and changes nothing."""

from __future__ import annotations  # Shell has a name for mypy only

import re
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

if TYPE_CHECKING:
    from plumbing.conftest import Shell  # tests are not a package: nothing can be imported from there

QUESTION = "How many books may a member borrow?"
SECRET = "s3cret-pass"


def test_question_is_answered_with_citations(shell: Shell) -> None:
    assert shell("run", QUESTION) == 0
    assert shell.out == "A member may borrow five books at a time. [handbook.md#2]\n"
    assert "thread ask-cli-" in shell.err
    assert "deliver" in shell.err


def test_json_is_an_object_a_line(shell: Shell) -> None:
    assert shell("run", QUESTION, "--json", "--thread-id", "t") == 0
    events = shell.objects()
    assert events[0] == {"event": "thread", "thread_id": "t"}
    assert {event["event"] for event in events} == {"thread", "node_started", "node_finished", "text", "end"}
    assert events[-1]["answer"].startswith("A member may borrow")
    assert "".join(event["text"] for event in events if event["event"] == "text") == events[-1]["answer"]


def test_unanswerable_question_is_done(shell: Shell) -> None:
    assert shell("run", "Who painted the ceiling?") == 0
    assert shell.out == "The documents do not answer this question.\n"


def test_failed_run_exits_1(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL", "scripted:never-satisfied")
    assert shell("run", "When does the reading room open?", "--thread-id", "t") == 1
    assert "not approved after 3 revisions" in shell.err
    assert shell("threads", "--json") == 0
    assert shell.objects()[0]["condition"] == "failed"


def test_approval_waits_and_goes_on(shell: Shell) -> None:
    assert shell("run", QUESTION, "--approve", "--thread-id", "t") == 3
    assert "A member may borrow" in shell.out
    assert "acme-agent answer t yes" in shell.err
    assert shell("show", "t") == 0
    assert "acme-agent answer t yes" in shell.out
    assert shell("resume", "t") == 2
    assert "waits for an answer" in shell.err
    assert shell("run", QUESTION, "--thread-id", "t") == 2
    assert "waits for an answer" in shell.err
    assert shell("answer", "t", " ") == 2
    assert shell("answer", "t", "yes") == 0
    assert shell.out.startswith("A member may borrow")
    assert shell("answer", "t", "yes") == 2
    assert "asks nothing" in shell.err


def test_refusal_is_done_and_says_so(shell: Shell) -> None:
    shell("run", QUESTION, "--approve", "--thread-id", "t")
    assert shell("answer", "t", "no") == 0
    assert (shell.out, "refused" in shell.err) == ("", True)


def test_finished_thread_takes_a_question_and_no_resume(shell: Shell) -> None:
    shell("run", QUESTION, "--thread-id", "t")
    assert shell("resume", "t") == 2
    assert 'acme-agent run "..." --thread-id t' in shell.err
    assert shell("run", "What does printing cost?", "--thread-id", "t") == 0
    assert "ten cents" in shell.out


def test_threads_and_history_page(shell: Shell) -> None:
    for thread in ("one", "two"):
        shell("run", QUESTION, "--thread-id", thread)
    assert shell("threads") == 0
    assert shell.out.index("two") < shell.out.index("one")
    assert shell("history", "one", "--json") == 0
    everything = shell.objects()
    assert [row["step"] for row in everything] == list(range(len(everything) - 2, -2, -1))
    assert shell("history", "one", "--limit", "2", "--before", everything[1]["checkpoint"], "--json") == 0
    assert shell.objects() == everything[2:4]
    assert shell("history", "one") == 0
    assert "approved" in shell.out


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["run", ""], "the question is empty"),
        (["run", QUESTION, "--thread-id", "a\nb"], "use 1 to 200 letters"),
        (["run", QUESTION, "--thread-id", "x" * 201], "use 1 to 200 letters"),
        (["run", QUESTION, "--docs", "/nowhere"], "pass --docs DIR"),
        (["run", QUESTION, "--docs", "."], "add documents"),
        (["show", "unheard-of"], "acme-agent threads"),
        (["resume", "unheard-of"], "acme-agent threads"),
        (["answer", "unheard-of", "yes"], "acme-agent threads"),
        (["history", "unheard-of"], "acme-agent threads"),
        (["threads", "--limit", "0"], "--limit"),
        (["fly"], "No such command"),
    ],
)
def test_wrong_request_is_one_line_with_the_remedy(shell: Shell, arguments: list[str], remedy: str) -> None:
    assert shell(*arguments) == 2
    assert remedy in shell.err
    assert shell.out == ""


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("DATABASE_URL", f"mysql://user:{SECRET}@host/db", "sqlite:///"),
        ("DATABASE_URL", f"postgresql://user:{SECRET}@127.0.0.1:1/db", "127.0.0.1:1"),
        ("DATABASE_URL", "sqlite:////proc/nowhere/threads.db", "/proc/nowhere"),
        ("DATA_DIR", "/proc/nowhere", "/proc/nowhere"),
        ("MODEL", "nobody:nothing", "MODEL=offline"),
        ("MODEL", "scripted:nothing", "straight-pass"),
        ("LOG_LEVEL", "LOUD", "LOG_LEVEL"),
        ("DATABASE_POOL_MIN", "99", "DATABASE_POOL_MAX"),
        ("ENVIRONMENT", "production", "DATABASE_URL"),
    ],
)
def test_wrong_setting_is_one_line_with_the_remedy(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv(name, value)
    assert shell("run", QUESTION) == 2
    assert remedy in shell.err
    assert "Value error" not in shell.err
    assert SECRET not in shell.err + shell.out


@pytest.mark.parametrize(
    "url", [f"postgresql://user:{SECRET}@localhost/db", f"postgresql://u:{SECRET}\u2100@127.0.0.1:1/db"]
)
def test_production_refuses_a_database_on_this_machine(shell: Shell, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A password with a character that Python's URL parser refuses is not shown either."""
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("DATABASE_URL", url)
    assert shell("threads") == 2
    assert "localhost" in shell.err or "127.0.0.1" in shell.err
    assert SECRET not in shell.err


def test_migrate_says_what_it_did(shell: Shell, monkeypatch: pytest.MonkeyPatch, empty_database: str) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database)
    assert shell("threads") == 2
    assert "acme-agent migrate" in shell.err
    assert shell("migrate") == 0
    assert shell.err.startswith("version 0: CREATE TABLE")
    assert shell("migrate") == 0
    assert "nothing to migrate" in shell.err
    assert shell("run", QUESTION, "--thread-id", "t") == 0
    assert shell("threads") == 0
    assert "done" in shell.out


def test_doctor_names_what_is_wrong(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shell("doctor") == 0
    assert "tables are up to date" in shell.out
    monkeypatch.setenv("DATABASE_URL", f"postgresql://user:{SECRET}@127.0.0.1:1/db")
    monkeypatch.setenv("DOCS", "/nowhere")
    assert shell("doctor", "--json") == 1
    wrong = {row["subject"]: row["text"] for row in shell.objects() if not row["ok"]}
    assert set(wrong) == {"agent", "database"}
    assert SECRET not in shell.out


def test_wrong_environment_does_not_end_a_run(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment without its documents or its model's key must not fail every thread that it touches."""
    shell("run", QUESTION, "--approve", "--thread-id", "t")
    with monkeypatch.context() as wrong:
        wrong.setenv("DOCS", "/nowhere")
        assert shell("answer", "t", "shorter") == 2
    with monkeypatch.context() as wrong:
        wrong.setenv("MODEL", "nobody:nothing")
        assert shell("answer", "t", "shorter") == 2
    assert shell("answer", "t", "y") == 0
    assert shell.out.startswith("A member may borrow")


def test_run_goes_on_with_the_documents_that_it_began_with(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "z.md").write_text("A member may borrow nine kites.\n", "utf-8")
    question = "How many kites may a member borrow?"
    assert shell("run", question, "--docs", "other", "--approve", "--thread-id", "t") == 3
    assert shell("answer", "t", "Say it otherwise.") == 3
    assert "nine kites" in shell.out


def test_history_before_an_unknown_checkpoint_is_refused(shell: Shell) -> None:
    shell("run", QUESTION, "--thread-id", "t")
    assert shell("history", "t", "--before", "garbage") == 2
    assert "no checkpoint 'garbage'" in shell.err


def test_broken_env_file_is_one_line(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"MODEL=\xff\xfe")
    assert shell("threads") == 1
    assert "UnicodeDecodeError" in shell.err


def test_database_that_may_not_be_read_is_one_line(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    role = f"reader_{uuid4().hex[:8]}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute(f"GRANT SELECT ON checkpoint_migrations, agent_versions TO {role}")
    try:
        monkeypatch.setenv("DATABASE_URL", re.sub(r"//[^@]*@", f"//{role}@", database))
        assert shell("threads") == 2
        assert f"TO {role};" in shell.err
        assert shell("run", QUESTION) == 2
        assert f"TO {role};" in shell.err
    finally:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")
