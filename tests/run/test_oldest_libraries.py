"""A project works with the oldest libraries that its ranges allow, too."""

import shutil
from pathlib import Path

from project import OLDEST, PACKAGE, PYTHONS, Project, generate, uv

ROOM = Path(__file__).with_name("plumbing")


def test_checkpoints_are_stored_with_the_oldest_libraries(template: Path, tmp_path: Path) -> None:
    """Conformance, group commit and the clock of ids: what leans most on LangGraph, psycopg and its pool."""
    project = generate(template, tmp_path, PYTHONS[OLDEST], backend="postgres")
    for name in ("conftest.py", "test_group_commit.py", "ledger/conftest.py", "ledger/test_clock.py"):
        copy = project.folder / "tests" / "plumbing" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOM / name, copy)
    project.run(uv(), "sync", "--quiet", "--resolution", "lowest-direct")
    room = f"src/{PACKAGE}/readiness/r01_durable_backend.py"
    # An old library may warn of what a newer one below it will remove.
    project.run(".venv/bin/pytest", "-n", "2", "-W", "default", room, "tests/plumbing")
    assert version_of(project, "psycopg-pool") == "3.3.0"


def test_valkey_is_reached_with_the_oldest_client(template: Path, tmp_path: Path) -> None:
    """Conformance, and the crash of every scenario."""
    project = generate(template, tmp_path, PYTHONS[OLDEST], backend="valkey")
    project.run(uv(), "sync", "--quiet", "--resolution", "lowest-direct")
    rooms = [f"src/{PACKAGE}/readiness/{name}.py" for name in ("r01_durable_backend", "r08_crash_resume")]
    project.run(".venv/bin/pytest", "-n", "2", "-W", "default", *rooms)
    assert version_of(project, "redis") == "7.0.0"


def test_dynamodb_is_reached_with_the_oldest_client(template: Path, tmp_path: Path) -> None:
    """Conformance; a crash of every scenario takes moto minutes."""
    project = generate(template, tmp_path, PYTHONS[OLDEST], backend="dynamodb")
    project.run(uv(), "sync", "--quiet", "--resolution", "lowest-direct")
    project.run(".venv/bin/pytest", "-n", "2", "-W", "default", f"src/{PACKAGE}/readiness/r01_durable_backend.py")
    assert version_of(project, "boto3") == "1.40.0"


def version_of(project: Project, library: str) -> str:
    ask = f"from importlib.metadata import version; print(version('{library}'))"
    return project.run(".venv/bin/python", "-c", ask).stdout.strip()
