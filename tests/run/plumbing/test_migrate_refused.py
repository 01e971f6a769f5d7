"""A migration that cannot be done says why, and changes nothing."""

import psycopg
import pytest
from acme_agent.persistence import DatabaseReadOnly, DatabaseUnreachable, SchemaUnknown, migrate
from acme_agent.settings import Settings


async def test_a_role_that_may_not_create_tables_is_told(empty_database: str, settings: Settings) -> None:
    with psycopg.connect(empty_database, autocommit=True) as admin:
        admin.execute("CREATE ROLE reader")
        admin.execute("REVOKE CREATE ON SCHEMA public FROM public")  # the default from PostgreSQL 15 on
        try:
            with pytest.raises(DatabaseUnreachable, match="permission denied"):
                await migrate(f"{empty_database}?options=-c%20role%3Dreader", settings=settings)
        finally:
            admin.execute("DROP ROLE reader")


async def test_a_read_only_database_is_not_migrated(empty_database: str, settings: Settings) -> None:
    with pytest.raises(DatabaseReadOnly, match="default_transaction_read_only"):
        await migrate(f"{empty_database}?options=-c%20default_transaction_read_only%3Don", settings=settings)


async def test_an_older_release_does_not_migrate_newer_tables(database: str, settings: Settings) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO checkpoint_migrations VALUES (1000)")
    with pytest.raises(SchemaUnknown, match=r"version 1000.*version 9"):
        await migrate(database, settings=settings)
