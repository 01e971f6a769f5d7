"""A start looks at the database once, changes nothing, and says of whatever is wrong what to do about it."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from acme_agent.persistence import (
    DatabaseReadOnly,
    DatabaseUnreachable,
    RightsMissing,
    SchemaDamaged,
    SchemaMissing,
    SchemaUnknown,
    migrate,
    open_checkpointer,
)
from acme_agent.persistence.errors import LedgerUnknown
from acme_agent.persistence.postgres_schema import KNOWN_SCHEMA, check_schema
from acme_agent.readiness.servers.lifeline import free_port, new_room
from acme_agent.readiness.servers.postgres_programs import find_programs, reachable, unprivileged_account
from acme_agent.settings import Settings
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

PASSWORD = "s3cr3t-Pa55w0rd"


async def test_the_look_is_one_query_on_one_connection_and_one_for_the_queue(
    database: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def watched(owner: type, name: str) -> None:
        original = getattr(owner, name)

        async def method(*args: Any, **kwargs: Any) -> Any:
            done.append(name)
            return await original(*args, **kwargs)

        monkeypatch.setattr(owner, name, method)

    watched(psycopg.AsyncConnection, "connect")
    watched(psycopg.AsyncCursor, "execute")
    connect = psycopg.AsyncConnection.connect
    monkeypatch.setattr(psycopg.AsyncConnection, "connect", staticmethod(connect))
    await check_schema(database, settings)
    assert done == ["connect", "execute", "execute"]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ("DELETE FROM checkpoint_migrations WHERE v > 3", SchemaMissing, "version 3, not 9.*acme-agent migrate"),
        ("DELETE FROM checkpoint_migrations", SchemaMissing, "no checkpoint tables.*acme-agent migrate"),
        ("DROP TABLE checkpoint_migrations", SchemaMissing, "no checkpoint tables.*acme-agent migrate"),
        ("DROP TABLE checkpoint_blobs", SchemaDamaged, "lost a checkpoint table"),
        (
            "INSERT INTO checkpoint_migrations VALUES (10)",
            SchemaUnknown,
            "version 10, .* knows version 9.*langgraph-checkpoint-postgres",
        ),
        (
            "INSERT INTO agent_versions VALUES (99)",
            LedgerUnknown,
            "ledger of version 99, .* knows version 1.*copier update",
        ),
    ],
)
async def test_other_tables_than_ours_stop_the_start(
    change: str, error: type[Exception], text: str, database: str, settings: Settings
) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(change.encode())
    with pytest.raises(error, match=text):
        await check_schema(database, settings)


async def test_a_newer_ledger_in_a_file_stops_the_start(tmp_path: Path, settings: Settings) -> None:
    url = f"sqlite:///{tmp_path / 'threads.db'}"
    async with open_checkpointer(url, settings=settings):
        pass
    with closing(sqlite3.connect(tmp_path / "threads.db")) as connection, connection:
        connection.execute("INSERT INTO agent_versions VALUES (99)")
    with pytest.raises(LedgerUnknown, match=r"ledger of version 99, .* knows version 1.*copier update"):
        async with open_checkpointer(url, settings=settings):
            pass


async def test_a_server_that_does_not_answer_is_told(
    database: str, settings: Settings, connection: psycopg.Connection[Any]
) -> None:
    """It takes the connection, and then the query waits, as for a pooler whose servers are all taken."""
    connection.autocommit = False
    connection.execute("LOCK TABLE checkpoint_migrations")
    with pytest.raises(DatabaseUnreachable, match=r"no answer within 0\.5 s"):
        await check_schema(database, settings.model_copy(update={"database_timeout": 0.5}))
    connection.rollback()
    await check_schema(database, settings)


@pytest.mark.parametrize(
    "migrations", [AsyncPostgresSaver.MIGRATIONS[:-1], [*AsyncPostgresSaver.MIGRATIONS, "SELECT 1"]]
)
async def test_a_library_with_other_tables_stops_start_and_migration(
    migrations: list[str], database: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AsyncPostgresSaver, "MIGRATIONS", migrations)
    text = rf"langgraph-checkpoint-postgres.* version {len(migrations) - 1}, .* version {KNOWN_SCHEMA}\..*uv sync"
    with pytest.raises(SchemaUnknown, match=text):
        await check_schema(database, settings)
    with pytest.raises(SchemaUnknown, match=text):
        await migrate(database, settings=settings)


@pytest.fixture
def clerk(database: str) -> Iterator[Callable[[str], str]]:
    """Return a function that makes the role "The Clerk" with rights, and returns the role's URL."""
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute('CREATE ROLE "The Clerk" LOGIN')

        def grant(rights: str) -> str:
            admin.execute(rights.encode())
            return database.replace("//postgres@", f"//The%20Clerk:{PASSWORD}@")

        yield grant
        admin.execute('DROP OWNED BY "The Clerk"')
        admin.execute('DROP ROLE "The Clerk"')


async def refusal(url: str, settings: Settings) -> str:
    with pytest.raises(RightsMissing) as caught:
        await check_schema(url, settings)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


async def test_a_role_without_rights_is_told_what_to_type(
    clerk: Callable[[str], str], database: str, settings: Settings
) -> None:
    message = await refusal(clerk("SELECT 1"), settings)
    assert 'GRANT SELECT ON checkpoint_migrations TO "The Clerk";' in message
    url = clerk(
        'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "The Clerk";'
        'GRANT INSERT, UPDATE, DELETE ON checkpoints TO "The Clerk"'
    )
    message = await refusal(url, settings)
    grants = message[message.index("GRANT") :]
    for table in ("checkpoint_blobs", "checkpoint_writes"):
        assert f'GRANT INSERT, UPDATE, DELETE ON public.{table} TO "The Clerk";' in grants
    with psycopg.connect(database) as admin:
        admin.execute(grants.encode())
    await check_schema(url, settings)


async def test_a_role_that_may_only_read_is_told(database: str, settings: Settings) -> None:
    with pytest.raises(DatabaseReadOnly, match="default_transaction_read_only"):
        async with open_checkpointer(f"{database}?options=-c%20default_transaction_read_only%3Don", settings=settings):
            pass


@pytest.fixture
def standby(admin_url: str, template: str) -> Iterator[str]:
    """Return the URL of a real standby: a copy of the tests' server that waits for more of its log."""
    account, room, port = unprivileged_account(), new_room("standby-"), free_port()
    data = room / "data"

    def pg_ctl(*arguments: str) -> None:
        command = [str(programs / "pg_ctl"), "-D", "data", "-s", "-w", "-l", "log", *arguments]
        subprocess.run(command, cwd=room, check=True, **account._asdict())

    try:
        with psycopg.connect(admin_url, autocommit=True) as admin:
            original = folder(admin)
            admin.execute("SELECT pg_backup_start('standby', true)")
            shutil.copytree(original, data, ignore=shutil.ignore_patterns("postmaster.pid"))
            label = admin.execute("SELECT labelfile FROM pg_backup_stop(false)").fetchone()
        assert label
        (data / "backup_label").write_text(label[0])
        (data / "standby.signal").touch()
        shutil.copytree(original / "pg_wal", data / "pg_wal", dirs_exist_ok=True)  # with what the backup wrote
        programs = reachable(find_programs(), account, room)
        if account.user is not None and account.group is not None:
            for path in (room, *room.rglob("*")):
                os.chown(path, account.user, account.group, follow_symlinks=False)
        pg_ctl("-o", f"-h 127.0.0.1 -p {port} -k {room} -F", "start")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/{template}"
        finally:
            pg_ctl("-m", "immediate", "stop")
    finally:
        shutil.rmtree(room)


def folder(admin: psycopg.Connection) -> Path:
    row = admin.execute("SELECT setting FROM pg_settings WHERE name = 'data_directory'").fetchone()
    assert row
    if not Path(row[0]).is_dir():
        pytest.skip("the folder of $TEST_DATABASE_URL's server is not on this machine")
    return Path(row[0])


async def test_a_standby_is_told_apart(standby: str, settings: Settings) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(DatabaseReadOnly, match=r"is a standby.*primary"):
            await check_schema(standby, settings)
        with pytest.raises(DatabaseReadOnly, match=r"is a standby.*primary"):
            await migrate(standby, settings=settings)
