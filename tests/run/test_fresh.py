"""Fresh projects, on every Python at hand: installed, asked, and tested as their teams would."""

import re
from pathlib import Path

import pytest
from project import PYTHONS, generate

QUESTION = "What happens to a run when its process is killed?"


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_fresh_project_answers_and_passes_its_tests(template: Path, tmp_path: Path, backend: str, python: str) -> None:
    fresh = generate(template, tmp_path, PYTHONS[python], backend=backend)
    answer = fresh.run("make", "run", f"Q={QUESTION}").stdout
    assert re.search(r"\[runbook\.md#\d+\]", answer), answer
    report = fresh.run("make", "test").stdout
    counted = re.search(r"(\d+) passed(.*)", report)
    assert counted, report
    assert "skipped" not in counted[2]
    assert fresh.run("git", "status", "--porcelain").stdout.split() == ["??", "uv.lock"], "it leaves files behind"
