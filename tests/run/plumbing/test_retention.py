"""Forgetting on schedule: what is old goes as a whole and is reported; nothing that a run or a person needs goes."""

import asyncio
import base64
import os
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from acme_agent.agent import AgentSettings, new_input
from acme_agent.agent.offline_scenarios import EXAMPLES
from acme_agent.runs import Action, Purged, Runs, open_runs
from acme_agent.runs.retention import PAGE
from pydantic import SecretStr

QUESTION = "How many books may a member borrow?"
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
NAMED = re.compile(r":([a-z]\w*)")
LEFT_RUNNING = """
UPDATE agent_runs SET status = 'running', holder = 'elsewhere/1/x', beat_at = '2020-01-01T00:00:00+00:00'
WHERE thread_id = :thread
"""
SOON = timedelta(seconds=1)  # from now on everything that was written is older than a microsecond


class Stored:
    """The test's own database, of whichever backend: its runs under a policy, and a look at its tables."""

    def __init__(self, url: str, folder: Path, tables: tuple[str, ...], spoil: str, connection: Any) -> None:
        """Any: a connection of psycopg or sqlite3, in autocommit mode."""
        self.url, self.folder, self.tables, self.spoil, self.connection = url, folder, tables, spoil, connection
        self.writes = tables[-1]
        self.is_sqlite = url.startswith("sqlite")

    def open_with(self, **policy: Any) -> Any:
        """Open the example agent's runs under a policy."""
        settings = AgentSettings(
            _env_file=None, database_url=SecretStr(self.url), data_dir=self.folder, docs=EXAMPLES, **policy
        )
        return open_runs(settings)

    def execute(self, statement: str, **parameters: object) -> Any:  # Any: a cursor
        """Execute a statement whose parameters are `:name`."""
        return self.connection.execute(statement if self.is_sqlite else NAMED.sub(r"%(\1)s", statement), parameters)

    def rows_of(self, thread: str = "%") -> dict[str, list[str]]:
        """Return every row of every table as the server prints it, or those of one thread."""
        row = "t.*" if self.is_sqlite else "CAST(t AS text)"
        return {
            table: sorted(
                map(repr, self.execute(f"SELECT {row} FROM {table} AS t WHERE thread_id LIKE :thread", thread=thread))
            )
            for table in self.tables
        }

    def threads(self) -> set[str]:
        """Return the ids that any row has."""
        query = " UNION ".join(f"SELECT thread_id FROM {table}" for table in self.tables)
        return {row[0] for row in self.execute(query)}

    def cut_off(self, thread: str, *, working: bool) -> None:
        """Make a finished thread look as if its process had died before the last checkpoint, or while a node worked."""
        newest = "(SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = :thread)"
        for table in ["checkpoints", self.writes] if working else ["checkpoints"]:
            self.execute(f"DELETE FROM {table} WHERE thread_id = :thread AND checkpoint_id = {newest}", thread=thread)
        self.execute(LEFT_RUNNING, thread=thread)

    def clone(self, thread: str, number: int) -> None:
        """Copy a thread `number` times."""
        for table in self.tables:
            columns = [column[0] for column in self.execute(f"SELECT * FROM {table} LIMIT 0").description]
            others = ", ".join(column for column in columns if column != "thread_id")
            self.execute(
                "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :number) "
                f"INSERT INTO {table} (thread_id, {others}) "
                f"SELECT 'copy-' || n, {others} FROM {table}, numbers WHERE thread_id = :thread",
                thread=thread,
                number=number,
            )


@pytest.fixture(params=["postgresql", "sqlite"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stored]:
    """A database of the test's own, on each backend."""
    if request.param == "postgresql":
        spoil = "UPDATE checkpoint_blobs SET blob = '\\xc1' WHERE thread_id = :thread"
        yield Stored(
            request.getfixturevalue("database"), tmp_path, TABLES, spoil, request.getfixturevalue("connection")
        )
        return
    spoil = "UPDATE checkpoints SET checkpoint = X'c1' WHERE thread_id = :thread"
    with closing(sqlite3.connect(tmp_path / "threads.db", isolation_level=None)) as connection:
        yield Stored(f"sqlite:///{tmp_path}/threads.db", tmp_path, ("checkpoints", "writes"), spoil, connection)


async def purge(runs: Runs, *, after: timedelta = SOON, **options: Any) -> tuple[Purged, list[Action]]:
    """Purge as it would be done `after` some time from now."""
    actions: list[Action] = []

    def keep(event: object) -> None:
        if isinstance(event, Action):
            actions.append(event)

    return await runs.purge(now=datetime.now(UTC) + after, listener=keep, **options), actions


async def test_old_finished_threads_go_and_others_stay(stored: Stored) -> None:
    async with stored.open_with(audit_window_days=30) as runs:
        await runs.start(new_input(QUESTION), thread="done")
        await runs.start(new_input(QUESTION, approval=True), thread="waiting")
        for thread in ("unfinished", "working"):
            await runs.start(new_input(QUESTION), thread=thread)
            stored.cut_off(thread, working=thread == "working")
        before = {name: stored.rows_of(name) for name in ("done", "waiting", "unfinished", "working")}

        done, actions = await purge(runs, after=timedelta(days=29))
        assert [(action.kind, action.thread_id) for action in actions] == [("waiting", "waiting")]
        assert (done.threads, done.rows) == (4, 0)

        done, actions = await purge(runs, after=timedelta(days=31))
        assert {action.thread_id: action.kind for action in actions} == {
            "done": "deleted",
            "waiting": "waiting",
            "unfinished": "unfinished",
            "working": "unfinished",
        }
        assert done.rows == sum(map(len, before["done"].values()))
        assert stored.threads() == {"waiting", "unfinished", "working"}
        assert all(stored.rows_of(name) == rows for name, rows in before.items() if name != "done")
        assert (await runs.answer("waiting", "yes")).condition == "done"
        assert (await runs.resume("unfinished")).condition == "done"
        assert (await runs.resume("working")).condition == "done"


async def test_failed_threads_go_too(stored: Stored) -> None:
    async with stored.open_with(audit_window_days=1, model="scripted:never-satisfied") as runs:
        assert (await runs.start(new_input("When does it open?"), thread="t")).condition == "failed"
        _, actions = await purge(runs, after=timedelta(days=2))
        assert [action.kind for action in actions] == ["deleted"]
        assert stored.threads() == set()


async def test_nothing_goes_without_a_policy(stored: Stored) -> None:
    async with stored.open_with() as runs:
        await runs.start(new_input(QUESTION), thread="done")
        await runs.start(new_input(QUESTION, approval=True), thread="waiting")
        before = stored.rows_of()
        _, actions = await purge(runs, after=timedelta(days=10_000))
        assert [(action.kind, action.thread_id) for action in actions] == [("waiting", "waiting")]
        assert stored.rows_of() == before


async def test_dry_run_says_the_same_and_changes_nothing(stored: Stored, tmp_path: Path) -> None:
    async with stored.open_with(audit_window_days=1, paused_ttl_days=1, history_keep=2) as runs:
        await runs.start(new_input(QUESTION), thread="done")
        await runs.start(new_input(QUESTION, approval=True), thread="waiting")
        before = stored.rows_of()
        said, planned = await purge(runs, after=timedelta(days=2), dry_run=True, archive=tmp_path / "archive")
        assert stored.rows_of() == before
        assert not (tmp_path / "archive").exists()
        done, actions = await purge(runs, after=timedelta(days=2), archive=tmp_path / "archive")
        assert said.actions == done.actions == {"deleted": 1, "expired": 1, "trimmed": 1}
        deleted = {action.kind: action.rows for action in planned}["deleted"]
        assert deleted == {action.kind: action.rows for action in actions}["deleted"] > 0


async def test_every_page_is_looked_at_once(stored: Stored) -> None:
    async with stored.open_with(audit_window_days=1) as runs:
        await runs.start(new_input(QUESTION), thread="t")
        stored.clone("t", 3 * PAGE + 1)
        done, actions = await purge(runs, after=timedelta(days=2))
        assert done.threads == len(actions) == 3 * PAGE + 2
        assert len({action.thread_id for action in actions}) == len(actions)
        assert stored.threads() == set()


async def test_rows_return_to_the_policys_bound(stored: Stored) -> None:
    """However long a thread lives, what a purge leaves of it is the same."""
    left: list[list[int]] = []
    async with stored.open_with(history_keep=5, audit_window_days=1) as runs:
        for _ in range(3):
            for _ in range(3):
                await runs.start(new_input(QUESTION), thread="long")
            await runs.start(new_input(QUESTION), thread=f"short-{len(left)}")
            await runs.purge(now=datetime.now(UTC))
            left.append([len(rows) for rows in stored.rows_of("long").values()])
        assert left[0] == left[1] == left[2]
        assert left[0][0] == 5
        await purge(runs, after=timedelta(days=2))
        assert stored.threads() == set()


@pytest.mark.parametrize("stored", ["postgresql"], indirect=True)
async def test_sealed_thread_expires_and_is_archived_sealed(stored: Stored, tmp_path: Path) -> None:
    key = SecretStr(base64.b64encode(secrets.token_bytes(32)).decode())
    async with stored.open_with(audit_window_days=30, paused_ttl_days=7, history_keep=2, checkpoint_key=key) as runs:
        await runs.start(new_input(QUESTION, approval=True), thread="t")
        await purge(runs, after=timedelta(days=8))
        assert "unanswered since" in (await runs.status("t")).expired
        before = stored.rows_of()
        await purge(runs, after=timedelta(days=40), archive=tmp_path / "archive")
        assert stored.threads() == set()
        (name,) = await asyncio.to_thread(os.listdir, tmp_path / "archive")
        file = tmp_path / "archive" / name
        assert "books" not in await asyncio.to_thread(file.read_text, "utf-8")
        await runs.restore(file)
        assert stored.rows_of() == before
        assert (await runs.start(new_input(QUESTION), thread="t")).condition == "done"


async def test_purge_works_through_a_transaction_pooler(pgbouncer_url: str, postgres_url: str, tmp_path: Path) -> None:
    settings = AgentSettings(
        _env_file=None,
        database_url=SecretStr(pgbouncer_url),
        database_direct_url=SecretStr(postgres_url),
        data_dir=tmp_path,
        docs=EXAMPLES,
        audit_window_days=30,
        paused_ttl_days=7,
        history_keep=2,
    )
    async with open_runs(settings) as runs:
        for thread in ("a", "b"):
            await runs.start(new_input(QUESTION, approval=True), thread=thread)
        await runs.answer("a", "yes")
        done, _ = await purge(runs, after=timedelta(days=8))
        assert done.actions == {"expired": 1, "trimmed": 2}
        done, _ = await purge(runs, after=timedelta(days=40), archive=tmp_path / "archive")
        assert done.actions == {"deleted": 2}
        for name in await asyncio.to_thread(os.listdir, tmp_path / "archive"):
            await runs.restore(tmp_path / "archive" / name)
        assert [status.condition for status in await runs.threads()] == ["failed", "done"]


async def test_leftovers_go_when_they_are_old(stored: Stored) -> None:
    """Writes that a run stored after its thread was deleted have no checkpoint and would stay for ever."""
    async with stored.open_with(audit_window_days=30) as runs:
        await runs.start(new_input(QUESTION), thread="t")
        stored.execute("DELETE FROM checkpoints")
        _, actions = await purge(runs, after=timedelta(days=29))
        assert actions == []
        _, actions = await purge(runs, after=timedelta(days=31))
        assert [action.kind for action in actions] == ["deleted"]
        assert stored.threads() == set()


async def test_one_unreadable_thread_does_not_stop_the_purge(stored: Stored) -> None:
    async with stored.open_with(audit_window_days=1) as runs:
        for thread in ("a", "b", "c"):
            await runs.start(new_input(QUESTION), thread=thread)
        stored.execute(stored.spoil, thread="b")
        done, actions = await purge(runs, after=timedelta(days=2))
        assert [(action.thread_id, action.kind) for action in actions] == [
            ("a", "deleted"),
            ("b", "unreadable"),
            ("c", "deleted"),
        ]
        assert done.wrong
        assert stored.threads() == {"b"}


async def test_thread_that_a_late_run_brings_back_is_reported(stored: Stored) -> None:
    async with stored.open_with(audit_window_days=1) as runs:
        await runs.start(new_input(QUESTION), thread="t")
        writes = stored.execute(f"SELECT * FROM {stored.writes} LIMIT 1")
        row = dict(zip([column[0] for column in writes.description], writes.fetchone(), strict=True))
        kinds = []

        def late(event: object) -> None:
            if isinstance(event, Action):
                kinds.append(event.kind)
                if event.kind == "deleted":
                    named = ", ".join(f":{column}" for column in row)
                    stored.execute(f"INSERT INTO {stored.writes} ({', '.join(row)}) VALUES ({named})", **row)

        done = await runs.purge(now=datetime.now(UTC) + timedelta(days=2), listener=late)
        assert kinds == ["deleted", "came back"]
        assert done.wrong
