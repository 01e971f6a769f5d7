"""`purge` and `restore` as people and cron jobs meet them."""

from __future__ import annotations  # Shell has a name for mypy only

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from plumbing.conftest import Shell  # tests are not a package: nothing can be imported from there

QUESTION = "How many books may a member borrow?"
NOW = "0.0000001"  # days, so that what a test wrote is old


@pytest.fixture
def server(shell: Shell, monkeypatch: pytest.MonkeyPatch, database: str) -> Shell:
    """A shell whose threads are on a server: one has finished and one waits."""
    monkeypatch.setenv("DATABASE_URL", database)
    assert shell("run", QUESTION, "--thread-id", "old") == 0
    assert shell("run", QUESTION, "--approve", "--thread-id", "asks") == 3
    return shell


def test_purge_without_a_policy_says_that_all_is_kept(server: Shell) -> None:
    assert server("purge") == 0
    assert "kept for ever (AUDIT_WINDOW_DAYS)" in server.err
    assert server.out.startswith("waiting: asks since 20")
    assert "2 threads looked at: 1 waiting; 0 rows gone" in server.err
    assert server("doctor") == 0
    assert "kept for ever (AUDIT_WINDOW_DAYS)" in server.out


def test_purge_archives_and_restore_brings_back(
    server: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: str
) -> None:
    assert server("history", "old", "--json") == 0
    before = server.objects()
    monkeypatch.setenv("AUDIT_WINDOW_DAYS", NOW)
    assert server("purge", "--dry-run") == 0
    assert "would be deleted: old since 20" in server.out
    assert "rows would go" in server.err
    assert server("show", "old") == 0

    assert server("purge", "--archive", "archive", "--json") == 0
    events = server.objects()
    assert [event["event"] for event in events] == ["policy", "waiting", "deleted", "end"]
    assert events[-1]["actions"] == {"waiting": 1, "deleted": 1}
    assert events[-1]["rows"] == events[2]["rows"] > 0
    assert server("show", "old") == 2
    assert server("show", "asks") == 0

    (file,) = (tmp_path / "archive").iterdir()
    assert str(file.relative_to(tmp_path)) in events[2]["text"]
    assert server("restore", str(file)) == 0
    assert "acme-agent show old" in server.err
    with psycopg.connect(database) as connection:
        audit = connection.execute("SELECT kind, detail FROM agent_audit WHERE thread_id = 'old' ORDER BY entry")
        assert [kind for kind, _ in audit] == ["deleted", "restored"]
    assert server("history", "old", "--json") == 0
    assert server.objects() == before
    assert server("run", "What does printing cost?", "--thread-id", "old") == 0

    assert server("restore", str(file)) == 2
    assert "already there" in server.err
    assert server("restore", "nowhere") == 2
    assert "nowhere is no file" in server.err
    file.write_text("{}")
    assert server("restore", str(file)) == 2
    assert "is damaged" in server.err


def test_expired_question_is_shown_and_takes_no_answer(server: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAUSED_TTL_DAYS", NOW)
    assert server("purge") == 0
    assert "expired: asks since 20" in server.out
    assert server("show", "asks") == 0
    assert "unanswered since" in server.out
    assert server("answer", "asks", "yes") == 2
    assert "takes no answer any more: expired on" in server.err
    assert server("threads", "--json") == 0
    assert {thread["thread_id"]: thread["condition"] for thread in server.objects()} == {
        "asks": "failed",
        "old": "done",
    }


def test_history_is_shortened(server: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HISTORY_KEEP", "2")
    assert server("purge") == 0
    assert "trimmed: old" in server.out
    assert server("history", "asks", "--json") == 0
    assert len(server.objects()) == 2
    assert server("answer", "asks", "yes") == 0


def test_purge_and_restore_work_on_a_local_file(shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert shell("run", QUESTION, "--thread-id", "t") == 0
    assert shell("run", QUESTION, "--approve", "--thread-id", "asks") == 3
    assert shell("history", "t", "--json") == 0
    before = shell.objects()
    monkeypatch.setenv("AUDIT_WINDOW_DAYS", NOW)
    assert shell("purge", "--json", "--archive", "archive") == 0
    assert shell.objects()[-1]["actions"] == {"waiting": 1, "deleted": 1}
    assert shell("show", "t") == 2
    assert shell("restore", str(next((tmp_path / "archive").iterdir()))) == 0
    assert shell("history", "t", "--json") == 0
    assert shell.objects() == before
    monkeypatch.setenv("HISTORY_KEEP", "1")
    monkeypatch.setenv("PAUSED_TTL_DAYS", NOW)
    assert shell("purge", "--json") == 0
    assert shell.objects()[-1]["actions"] == {"expired": 1, "deleted": 1, "trimmed": 1}
    assert shell("restore", "nowhere") == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("AUDIT_WINDOW_DAYS", "0"), ("AUDIT_WINDOW_DAYS", "P30D"), ("PAUSED_TTL_DAYS", "inf"), ("HISTORY_KEEP", "0")],
)
def test_wrong_policy_is_one_line(shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert shell("purge") == 2
    assert name in shell.err
