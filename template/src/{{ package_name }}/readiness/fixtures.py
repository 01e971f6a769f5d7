"""Pytest fixtures for the standard and for your own tests: real databases, without Docker."""

import asyncio
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from ..persistence import migrate

# A project has the files of its own backend only (copier.yml).
BACKENDS = ["sqlite", *(["postgres"] if find_spec(f"{__package__}.postgres_server") else [])]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """LangGraph's savers and psycopg's pool need asyncio itself."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[tuple[str, str]]:
    """The superuser's URL of a PostgreSQL server, and the name of a migrated database on it to copy."""
    from .postgres_server import create_database, drop_database, postgres_server

    with postgres_server() as admin_url:
        name = f"template_{os.getpid()}"
        asyncio.run(migrate(create_database(admin_url, name)))
        yield admin_url, name
        drop_database(admin_url, name)


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database of the test's own, on each backend of the project."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'threads.db'}"
        return
    from .postgres_server import create_database, drop_database

    admin_url, template = request.getfixturevalue("postgres_template")
    url = create_database(admin_url, template=template)
    yield url
    drop_database(admin_url, url.partition("?")[0].rpartition("/")[2])
