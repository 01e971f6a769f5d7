"""Generated projects, for real: installed, asked, tested; and the crash check, which must find what it is for."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from project import Project, generate, pythons

from template import replace

HERE = Path(__file__).parent
QUESTION = "What happens to a run when its process is killed?"
COVERED = 90  # percent of the lines and branches of a project's package
PYTHONS = pythons()
OLDEST, NEWEST = min(PYTHONS, key=lambda v: int(v[2:])), max(PYTHONS, key=lambda v: int(v[2:]))


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Callable[..., Project]:
    """`project(python, **answers)` generates one."""
    return lambda python, **answers: generate(template, tmp_path, PYTHONS[python], **answers)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_fresh_project_answers_and_passes_its_tests(project: Callable[..., Project], backend: str, python: str) -> None:
    fresh = project(python, backend=backend)
    answer = fresh.run("make", "run", f"Q={QUESTION}").stdout
    assert re.search(r"\[runbook\.md#\d+\]", answer), answer
    report = fresh.run("make", "test").stdout
    counted = re.search(r"(\d+) passed(.*)", report)
    assert counted, report
    assert "skipped" not in counted[2]
    assert fresh.run("git", "status", "--porcelain").stdout.split() == ["??", "uv.lock"], "it leaves files behind"


def test_plumbing_works_and_is_covered(project: Callable[..., Project]) -> None:
    """The tests of the template's own rooms, inside a project, with everything that they share."""
    whole = project(OLDEST, backend="postgres")
    shutil.copytree(HERE / "plumbing", whole.folder / "tests" / "plumbing")
    whole.run("make", "coverage")
    report = json.loads(whole.run(".venv/bin/coverage", "json", "--quiet", "-o", "-").stdout)
    print(f"{report['totals']['percent_covered']:.1f} % of the package is covered")
    poor = {name: round(file["summary"]["percent_covered"]) for name, file in report["files"].items()}
    assert report["totals"]["percent_covered"] >= COVERED, {
        name: share for name, share in poor.items() if share < COVERED
    }


BREAKS = {
    "durability exit": (
        "runs/runs.py",
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
        "runs/runs.py",
        "return await self._run(None, status.thread_id, listener)",
        "return await self._run(dict(status.values), status.thread_id, listener)",
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
            replace(sqlite_project.source / "runs/runs.py", 'Durability = "sync"', 'Durability = "async"')
        done = sqlite_project.run("make", "ready", "PYTEST=.venv/bin/pytest -k straight-pass", check=False)
    finally:
        for path, text in saved.items():
            path.write_text(text)
    assert done.returncode != 0
    assert complaint in done.stdout, done.stdout


def test_demo_tells_its_story() -> None:
    done = subprocess.run([sys.executable, str(HERE / "demo.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed with signal 9" in done.stdout
