"""Pytest fixtures for the standard and for your own tests: a real database of the test's own, on each backend."""

from importlib.util import find_spec
from pathlib import Path

import pytest

# A project has the files of its own backend only (copier.yml).
_OPTIONAL = {name: f"{__package__}.{name}_fixtures" for name in ("postgres", "pgbouncer")}
_PRESENT = {name: module for name, module in _OPTIONAL.items() if find_spec(module)}

pytest_plugins = list(_PRESENT.values())

BACKENDS = ["sqlite", *_PRESENT]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """LangGraph's savers and psycopg's pool need asyncio itself."""
    return "asyncio"


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a database of the test's own, ready to be opened.

    For one behind PgBouncer, DATABASE_DIRECT_URL in the environment leads straight to it; settings that are made
    afterwards have it.
    """
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'threads.db'}"
    url: str = request.getfixturevalue(f"{request.param}_url")
    if request.param == "pgbouncer":
        monkeypatch.setenv("DATABASE_DIRECT_URL", request.getfixturevalue("postgres_url"))
    return url
