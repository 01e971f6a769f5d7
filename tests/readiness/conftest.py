"""Projects to violate the standard in, each a fresh copy of one that is installed once."""

from pathlib import Path

import pytest
from harness import Case, copy, install
from project import Project


@pytest.fixture(scope="session")
def sqlite_project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project for SQLite, installed. Not to be changed."""
    return install(template, tmp_path_factory.mktemp("sqlite"), "sqlite")


@pytest.fixture(scope="session")
def postgres_project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project for PostgreSQL behind PgBouncer, installed. Not to be changed."""
    return install(template, tmp_path_factory.mktemp("postgres"), "postgres+pgbouncer")


@pytest.fixture(scope="session")
def worker_project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project for PostgreSQL with workers, installed. Not to be changed."""
    return install(template, tmp_path_factory.mktemp("worker"), "postgres", worker="procrastinate")


@pytest.fixture
def case(sqlite_project: Project, tmp_path: Path) -> Case:
    """A copy of the SQLite project: what does not depend on the backend is quickest on it."""
    return copy(sqlite_project, tmp_path / "case")


@pytest.fixture
def postgres_case(postgres_project: Project, tmp_path: Path) -> Case:
    """A copy of the PostgreSQL project."""
    return copy(postgres_project, tmp_path / "case")


@pytest.fixture
def worker_case(worker_project: Project, tmp_path: Path) -> Case:
    """A copy of the project with workers."""
    return copy(worker_project, tmp_path / "case")
