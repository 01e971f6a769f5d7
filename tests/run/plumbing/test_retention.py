"""Forgetting on schedule: what is old goes as a whole and is reported; nothing that a run or a person needs goes."""

import asyncio
import base64
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from acme_agent.agent import AgentSettings, new_input
from acme_agent.agent.offline_scenarios import EXAMPLES
from acme_agent.runs import Action, Purged, Runs, open_runs
from acme_agent.runs.retention import PAGE
from pydantic import SecretStr

QUESTION = "How many books may a member borrow?"
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
SOON = timedelta(seconds=1)  # from now on everything that was written is older than a microsecond


def rows_of(connection: psycopg.Connection[Any], thread: str | None = None) -> dict[str, list[str]]:
    """Return every row of every table as the server prints it."""
    return {
        table: [
            row
            for (row,) in connection.execute(
                f"SELECT t::text FROM {table} AS t WHERE %s::text IS NULL OR thread_id = %s ORDER BY 1",
                (thread, thread),
            )
        ]
        for table in TABLES
    }


def threads_in(connection: psycopg.Connection[Any]) -> set[str]:
    """Return the ids that any row has."""
    query = " UNION ".join(f"SELECT thread_id FROM {table}" for table in TABLES)
    return {row[0] for row in connection.execute(query)}


async def purge(runs: Runs, *, after: timedelta = SOON, **options: Any) -> tuple[Purged, list[Action]]:
    """Purge as it would be done `after` some time from now."""
    actions: list[Action] = []

    def keep(event: object) -> None:
        if isinstance(event, Action):
            actions.append(event)

    return await runs.purge(now=datetime.now(UTC) + after, listener=keep, **options), actions


LEFT_RUNNING = """
UPDATE agent_runs SET status = 'running', holder = 'elsewhere/1/x', beat_at = now() - interval '1 hour'
WHERE thread_id = %s
"""


def cut_off(connection: psycopg.Connection[Any], thread: str, *, working: bool) -> None:
    """Make a finished thread look as if its process had died before the last checkpoint, or while its node worked."""
    newest = "(SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = %(thread)s)"
    tables = ["checkpoints", "checkpoint_writes"] if working else ["checkpoints"]
    for table in tables:
        connection.execute(
            f"DELETE FROM {table} WHERE thread_id = %(thread)s AND checkpoint_id = {newest}", {"thread": thread}
        )


def clone(connection: psycopg.Connection[Any], thread: str, number: int) -> None:
    """Copy a thread `number` times."""
    for table in TABLES:
        connection.execute(
            f"INSERT INTO {table} SELECT (jsonb_populate_record(t, jsonb_build_object('thread_id', 'copy-' || n))).* "
            f"FROM {table} AS t, generate_series(1, %s) AS n WHERE t.thread_id = %s",
            (number, thread),
        )


async def test_old_finished_threads_go_and_others_stay(
    open_with: Callable[..., Any], connection: psycopg.Connection[Any]
) -> None:
    async with open_with(audit_window_days=30) as runs:
        await runs.start(new_input(QUESTION), thread="done")
        await runs.start(new_input(QUESTION, approval=True), thread="waiting")
        for thread in ("unfinished", "working"):
            await runs.start(new_input(QUESTION), thread=thread)
            cut_off(connection, thread, working=thread == "working")
            connection.execute(LEFT_RUNNING, (thread,))
        before = {name: rows_of(connection, name) for name in ("done", "waiting", "unfinished", "working")}

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
        assert threads_in(connection) == {"waiting", "unfinished", "working"}
        assert all(rows_of(connection, name) == rows for name, rows in before.items() if name != "done")
        assert (await runs.answer("waiting", "yes")).condition == "done"
        assert (await runs.resume("unfinished")).condition == "done"
        assert (await runs.resume("working")).condition == "done"


async def test_failed_threads_go_too(open_with: Callable[..., Any], connection: psycopg.Connection[Any]) -> None:
    async with open_with(audit_window_days=1, model="scripted:never-satisfied") as runs:
        assert (await runs.start(new_input("When does it open?"), thread="t")).condition == "failed"
        _, actions = await purge(runs, after=timedelta(days=2))
        assert [action.kind for action in actions] == ["deleted"]
        assert threads_in(connection) == set()


async def test_nothing_goes_without_a_policy(
    open_with: Callable[..., Any], connection: psycopg.Connection[Any]
) -> None:
    async with open_with() as runs:
        await runs.start(new_input(QUESTION), thread="done")
        await runs.start(new_input(QUESTION, approval=True), thread="waiting")
        before = rows_of(connection)
        _, actions = await purge(runs, after=timedelta(days=10_000))
        assert [(action.kind, action.thread_id) for action in actions] == [("waiting", "waiting")]
        assert rows_of(connection) == before


async def test_dry_run_says_the_same_and_changes_nothing(
    open_with: Callable[..., Any], connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    async with open_with(audit_window_days=1, paused_ttl_days=1, history_keep=2) as runs:
        await runs.start(new_input(QUESTION), thread="done")
        await runs.start(new_input(QUESTION, approval=True), thread="waiting")
        before = rows_of(connection)
        said, planned = await purge(runs, after=timedelta(days=2), dry_run=True, archive=tmp_path / "archive")
        assert rows_of(connection) == before
        assert not (tmp_path / "archive").exists()
        done, actions = await purge(runs, after=timedelta(days=2), archive=tmp_path / "archive")
        assert said.actions == done.actions == {"deleted": 1, "expired": 1, "trimmed": 1}
        deleted = {action.kind: action.rows for action in planned}["deleted"]
        assert deleted == {action.kind: action.rows for action in actions}["deleted"] > 0


async def test_every_page_is_looked_at_once(open_with: Callable[..., Any], connection: psycopg.Connection[Any]) -> None:
    async with open_with(audit_window_days=1) as runs:
        await runs.start(new_input(QUESTION), thread="t")
        clone(connection, "t", 3 * PAGE + 1)
        done, actions = await purge(runs, after=timedelta(days=2))
        assert done.threads == len(actions) == 3 * PAGE + 2
        assert len({action.thread_id for action in actions}) == len(actions)
        assert threads_in(connection) == set()


async def test_rows_return_to_the_policys_bound(
    open_with: Callable[..., Any], connection: psycopg.Connection[Any]
) -> None:
    """However long a thread lives, what a purge leaves of it is the same."""
    left: list[list[int]] = []
    async with open_with(history_keep=5, audit_window_days=1) as runs:
        for _ in range(3):
            for _ in range(3):
                await runs.start(new_input(QUESTION), thread="long")
            await runs.start(new_input(QUESTION), thread=f"short-{len(left)}")
            await runs.purge(now=datetime.now(UTC))
            left.append([len(rows) for rows in rows_of(connection, "long").values()])
        assert left[0] == left[1] == left[2]
        assert left[0][0] == 5
        await purge(runs, after=timedelta(days=2))
        assert threads_in(connection) == set()


async def test_sealed_thread_expires_and_is_archived_sealed(
    open_with: Callable[..., Any], connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    key = SecretStr(base64.b64encode(secrets.token_bytes(32)).decode())
    async with open_with(audit_window_days=30, paused_ttl_days=7, history_keep=2, checkpoint_key=key) as runs:
        await runs.start(new_input(QUESTION, approval=True), thread="t")
        await purge(runs, after=timedelta(days=8))
        assert "unanswered since" in (await runs.status("t")).expired
        before = rows_of(connection)
        await purge(runs, after=timedelta(days=40), archive=tmp_path / "archive")
        assert threads_in(connection) == set()
        (name,) = await asyncio.to_thread(os.listdir, tmp_path / "archive")
        file = tmp_path / "archive" / name
        assert "books" not in await asyncio.to_thread(file.read_text, "utf-8")
        await runs.restore(file)
        assert rows_of(connection) == before
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


async def test_leftovers_go_when_they_are_old(
    open_with: Callable[..., Any], connection: psycopg.Connection[Any]
) -> None:
    """Writes that a run stored after its thread was deleted have no checkpoint and would stay for ever."""
    async with open_with(audit_window_days=30) as runs:
        await runs.start(new_input(QUESTION), thread="t")
        connection.execute("DELETE FROM checkpoints")
        _, actions = await purge(runs, after=timedelta(days=29))
        assert actions == []
        _, actions = await purge(runs, after=timedelta(days=31))
        assert [action.kind for action in actions] == ["deleted"]
        assert threads_in(connection) == set()


async def test_one_unreadable_thread_does_not_stop_the_purge(
    open_with: Callable[..., Any], connection: psycopg.Connection[Any]
) -> None:
    async with open_with(audit_window_days=1) as runs:
        for thread in ("a", "b", "c"):
            await runs.start(new_input(QUESTION), thread=thread)
        connection.execute("UPDATE checkpoint_blobs SET blob = '\\xc1' WHERE thread_id = 'b'")
        done, actions = await purge(runs, after=timedelta(days=2))
        assert [(action.thread_id, action.kind) for action in actions] == [
            ("a", "deleted"),
            ("b", "unreadable"),
            ("c", "deleted"),
        ]
        assert done.wrong
        assert threads_in(connection) == {"b"}


async def test_thread_that_a_late_run_brings_back_is_reported(
    open_with: Callable[..., Any], connection: psycopg.Connection[Any]
) -> None:
    async with open_with(audit_window_days=1) as runs:
        await runs.start(new_input(QUESTION), thread="t")
        row = connection.execute("SELECT * FROM checkpoint_writes LIMIT 1").fetchone()
        assert row
        kinds = []

        def late(event: object) -> None:
            if isinstance(event, Action):
                kinds.append(event.kind)
                if event.kind == "deleted":
                    connection.execute(f"INSERT INTO checkpoint_writes VALUES ({', '.join(['%s'] * len(row))})", row)

        done = await runs.purge(now=datetime.now(UTC) + timedelta(days=2), listener=late)
        assert kinds == ["deleted", "came back"]
        assert done.wrong
