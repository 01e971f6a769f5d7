"""The runbook's SQL, executed as an auditor would, on what real runs, answers, deaths and deletions have left."""

from __future__ import annotations  # Shell has a name for mypy only

import re
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from acme_agent.persistence.sqlite_url import sqlite_path

if TYPE_CHECKING:
    from plumbing.conftest import Shell  # tests are not a package: nothing can be imported from there

QUESTION = "How many books may a member borrow?"
RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"


def statements() -> dict[str, str]:
    """Return each SQL block of the project's runbook, by the first words of the line above it."""
    text = RUNBOOK.read_text("utf-8")
    found = re.findall(r"^([^\n]+):\n\n```sql\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert len(found) == text.count("```sql")
    return {" ".join(title.split()[:2]): sql for title, sql in found}


def ask(url: str, title: str, **words: str) -> list[tuple[Any, ...]]:  # Any: columns
    """Return the rows of a block, in which the words are filled in."""
    statement = statements()[title]
    for word, value in words.items():
        assert word in statement
        statement = statement.replace(word, value)
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(sqlite_path(url))) as connection:
            return connection.execute(statement).fetchall()
    with psycopg.connect(url) as connection:
        return connection.execute(statement.encode()).fetchall()


@pytest.fixture
def here(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, database_url: str, client: Callable[..., subprocess.Popen[str]]
) -> tuple[Shell, str]:
    """A shell, and the URL of a database in which there has been some life."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    for actor, thread, answer in (("jo", "one", "yes"), ("al", "two", "no"), ("jo", "three", "")):
        monkeypatch.setenv("ACTOR", actor)
        assert shell("run", QUESTION, "--approve", "--thread-id", thread) == 3
        if answer:
            assert shell("answer", thread, answer) == 0
    for thread in ("cancelled", "expired"):
        assert shell("run", QUESTION, "--approve", "--thread-id", thread) == 3
    assert shell("cancel", "cancelled") == 0
    assert shell("run", QUESTION, "--thread-id", "deleted") == 0
    assert shell("delete", "deleted", "--yes") == 0
    for thread, limit in (("crashed", "9"), ("parked", "1")):
        process = client(thread, database_url)
        process.kill()
        process.wait()
        monkeypatch.setenv("RUN_CRASH_LIMIT", limit)
        shell("resume", thread)
    if database_url.startswith(("postgresql", "sqlite")):
        return shell, database_url
    as_tables = "sqlite:///as-tables.db"  # as the runbook says for a store that knows no SQL
    assert shell("copy-threads", database_url, as_tables) == 0
    return shell, as_tables


def test_every_question_has_an_answer(here: tuple[Shell, str]) -> None:
    _, url = here
    ((_, node, proposed, _, who, answer),) = ask(url, "Who approved", THREAD="one")
    assert (node, who, answer) == ("approve", "jo", "yes")
    assert "A member may borrow" in proposed
    ((*_, who, answer),) = ask(url, "Who approved", THREAD="three")
    assert (who, answer) == (None, None)

    assert [(row[2], row[4]) for row in ask(url, "All open")] == [("three", "approve"), ("expired", "approve")]
    assert "A member may borrow" in ask(url, "All open")[0][5]

    assert [row[1] for row in ask(url, "All answers", ACTOR="jo")] == ["one"]
    assert [row[1] for row in ask(url, "All answers", ACTOR="al")] == ["two"]
    long_ago = {"2026-01-01": "2001-01-01", "2027-01-01": "2002-01-01"}
    assert ask(url, "All answers", ACTOR="jo", **long_ago) == []

    ended = [(row[1], row[2], row[4]) for row in ask(url, "Everything that")]
    assert ended == [
        ("cancelled", "cancelled", "jo"),
        ("deleted", "deleted", "jo"),
        ("parked", "parked", "system"),
    ]
    deaths = ask(url, "Runs whose")
    assert {(row[0], row[2]) for row in deaths} == {("crashed", 1), ("parked", 1)}
    assert all("attempt 1 by " in row[5] for row in deaths)


def test_purge_and_expiry_leave_their_lines(server: Shell, monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    monkeypatch.setenv("ACTOR", "jo")
    server("run", QUESTION, "--thread-id", "old")
    server("run", QUESTION, "--approve", "--thread-id", "asks")
    monkeypatch.setenv("AUDIT_WINDOW_DAYS", "0.0000001")
    monkeypatch.setenv("PAUSED_TTL_DAYS", "0.0000001")
    assert server("purge") == 0
    rows = [(row[1], row[2], row[4]) for row in ask(database, "Everything that")]
    assert sorted(rows) == [("deleted", "old", "system"), ("expired", "asks", "system"), ("purged", "", "jo")]
