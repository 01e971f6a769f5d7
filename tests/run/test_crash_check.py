"""The crash check must find what it is for: each break here is one that a team could make."""

from pathlib import Path

import pytest
from project import NEWEST, PYTHONS, Project, generate

from template import replace

BREAKS = {
    "durability exit": (
        "runs/execution.py",
        'DURABILITY: Durability = "sync"',
        'DURABILITY: Durability = "exit"',
        "ran again",
    ),
    "durability async, a node that blocks": (
        "agent/write.py",
        '    feedback = state.get("feedback", "") if',
        '    __import__("time").sleep(0.2)\n    feedback = state.get("feedback", "") if',
        "ran again",
    ),
    "effect without a key": (
        "effects.py",
        'return str(uuid5(_NAMESPACE, f"{execution.thread_id}/{execution.task_id}/{label}"))',
        'return str(__import__("uuid").uuid4())',
        "has other effects",
    ),
    "result of chance": (
        "agent/finish.py",
        '    return {"messages": [AIMessage(state["answer"])]}',
        '    return {"messages": [AIMessage(key)]}',
        "ends in another state",
    ),
    "request sent again": (
        "runs/execution.py",
        'return None, ""',
        'return dict(snapshot.values), ""',
        "ends in another state",
    ),
}


@pytest.fixture(scope="module")
def sqlite_project(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that is installed; a test copies its package to break it."""
    made = generate(template, tmp_path_factory.mktemp("whole"), PYTHONS[NEWEST], backend="sqlite")
    made.run("make", "run")
    return made


@pytest.mark.parametrize("broken", BREAKS)
def test_crash_check_finds(broken: str, sqlite_project: Project) -> None:
    name, old, new, complaint = BREAKS[broken]
    saved = {path: path.read_text() for path in sqlite_project.source.rglob("*.py")}
    try:
        replace(sqlite_project.source / name, old, new)
        if "async" in broken:
            replace(sqlite_project.source / "runs/execution.py", 'Durability = "sync"', 'Durability = "async"')
        if "again" in broken:  # LangGraph takes an input with the run id of the newest checkpoint for a re-entry
            replace(sqlite_project.source / "runs/config.py", '"run_id": run,', '"run_id": str(id(object())),')
        done = sqlite_project.run(
            "make", "ready", "PYTEST=.venv/bin/pytest --basetemp=.pytest -k straight-pass", check=False
        )
    finally:
        for path, text in saved.items():
            path.write_text(text)
    assert done.returncode != 0
    assert complaint in done.stdout, done.stdout
