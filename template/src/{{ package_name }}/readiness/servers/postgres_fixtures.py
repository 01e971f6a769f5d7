"""Pytest fixtures for a real PostgreSQL: one server for the session, a migrated database for a test."""

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest

from ...persistence import migrate
from .postgres_server import create_database, drop_database, postgres_server


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[tuple[str, str]]:
    """The superuser's URL of a server, and the name of a migrated database on it to copy."""
    with postgres_server() as admin_url:
        name = f"template_{uuid4().hex[:12]}"
        asyncio.run(migrate(create_database(admin_url, name)))
        yield admin_url, name
        drop_database(admin_url, name)


@pytest.fixture
def postgres_url(postgres_template: tuple[str, str]) -> Iterator[str]:
    """The URL of a migrated database of the test's own."""
    admin_url, template = postgres_template
    name = f"test_{uuid4().hex[:12]}"
    yield create_database(admin_url, name, template)
    drop_database(admin_url, name)
