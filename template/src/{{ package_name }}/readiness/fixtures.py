"""Pytest fixtures for the standard and for your own tests: a real database of the test's own, on each backend."""

from importlib.util import find_spec
from pathlib import Path

import pytest

# A project has the files of its own backend only (copier.yml).
_POSTGRES = f"{__package__}.postgres_fixtures"
pytest_plugins = [_POSTGRES] if find_spec(_POSTGRES) else []

BACKENDS = ["sqlite", "postgres"] if pytest_plugins else ["sqlite"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """LangGraph's savers and psycopg's pool need asyncio itself."""
    return "asyncio"


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of the test's own, ready to be opened."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return f"sqlite:///{tmp_path / 'threads.db'}"
