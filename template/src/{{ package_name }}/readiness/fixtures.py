"""Pytest fixtures for the standard and for your own tests: the agent's scenarios, and a database of the test's own."""

from pathlib import Path

import pytest

from ..errors import ProjectError
from .engine.budgets import Budgets, budgets_of
from .playing.play import Plays

# A project has the files of its own backend only (copier.yml).
_FOLDER = Path(__file__).with_name("servers")
SERVERS, POOLERS = (sorted(path.stem for path in _FOLDER.glob(f"*_{kind}.py")) for kind in ("fixtures", "pooler"))

pytest_plugins = [f"{__package__}.engine.plugin", *(f"{__package__}.servers.{name}" for name in SERVERS + POOLERS)]

BACKENDS = ["sqlite", *(name.rpartition("_")[0] for name in SERVERS + POOLERS)]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """LangGraph's savers, and the pools of connections, need asyncio itself."""
    return "asyncio"


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a database of the test's own, ready to be opened: once on each backend.

    For one behind a pooler, DATABASE_DIRECT_URL in the environment leads straight to it; settings that are made
    afterwards have it.
    """
    return _database_url(str(request.param), request, tmp_path, monkeypatch)


@pytest.fixture
def production_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """As `database_url`, once: on the backend that the project has for production."""
    return _database_url(BACKENDS[-1], request, tmp_path, monkeypatch)


def _database_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if backend == "sqlite":
        return f"sqlite:///{tmp_path / 'threads.db'}"
    url: str = request.getfixturevalue(f"{backend}_url")
    if f"{backend}_pooler" in POOLERS:
        monkeypatch.setenv("DATABASE_DIRECT_URL", request.getfixturevalue("direct_url"))
    return url


@pytest.fixture(scope="session")
def project(request: pytest.FixtureRequest) -> Path:
    """The project's folder."""
    return request.config.rootpath


@pytest.fixture(scope="session")
def budgets(request: pytest.FixtureRequest) -> Budgets:
    """The numbers of the standard, as the project has tightened them."""
    try:
        return budgets_of(request.config.rootpath)
    except ProjectError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture(scope="session")
def plays(tmp_path_factory: pytest.TempPathFactory) -> Plays:
    """The scenarios' records, each played when a check first asks for it."""
    return Plays(tmp_path_factory.mktemp("plays"))
