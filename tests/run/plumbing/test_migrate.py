"""Any number of replicas may start a release at once: the tables are right afterwards, and nobody hangs or fails."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from acme_agent.persistence import DatabaseUnreachable, MigrationBusy, migrate, open_checkpointer
from acme_agent.persistence.postgres_migrate import _LOCK, SCHEMA_VERSION
from acme_agent.settings import Settings

STEPS = SCHEMA_VERSION + 1
ROUNDS = 4

INVALID_INDEXES = "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid"
INDEXES = "SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'checkpoint%thread_id_idx'"


def test_eight_processes_migrate_an_empty_database_at_once(
    crew: Callable[..., list[Any]], make_database: Callable[..., str]
) -> None:
    for _ in range(ROUNDS):
        url = make_database()
        assert sorted(crew("migrate", url)) == [0, 0, 0, 0, 0, 0, 0, STEPS]
        with psycopg.connect(url) as connection:
            assert connection.execute(INVALID_INDEXES).fetchall() == []
            assert connection.execute(INDEXES).fetchone() == (3,)


@pytest.mark.anyio
async def test_a_second_migration_changes_nothing(empty_database: str, settings: Settings) -> None:
    assert await migrate(empty_database, settings=settings) == STEPS
    assert await migrate(empty_database, settings=settings) == 0
    async with open_checkpointer(empty_database, settings=settings):
        pass


@pytest.mark.anyio
async def test_a_half_migrated_database_is_finished(database: str, settings: Settings) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM checkpoint_migrations WHERE v > 3")
    assert await migrate(database, settings=settings) == SCHEMA_VERSION - 3
    async with open_checkpointer(database, settings=settings):
        pass


@pytest.mark.anyio
async def test_a_migration_that_never_ends_elsewhere_is_not_waited_for_for_ever(
    empty_database: str, settings: Settings
) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        started = time.monotonic()
        with pytest.raises(MigrationBusy, match="acme-agent migrate"):
            await asyncio.wait_for(migrate(empty_database, settings=settings, wait=0.5), timeout=10)
        assert 0.5 <= time.monotonic() - started < 5
    assert await migrate(empty_database, settings=settings) == STEPS  # the lock ended with its connection


@pytest.mark.anyio
async def test_a_role_that_may_not_create_tables_is_told(empty_database: str, settings: Settings) -> None:
    with psycopg.connect(empty_database, autocommit=True) as admin:
        admin.execute("CREATE ROLE reader")
        admin.execute("REVOKE CREATE ON SCHEMA public FROM public")  # the default from PostgreSQL 15 on
        try:
            with pytest.raises(DatabaseUnreachable, match="permission denied"):
                await migrate(f"{empty_database}?options=-c%20role%3Dreader", settings=settings)
        finally:
            admin.execute("DROP ROLE reader")
