"""Fresh projects, on every Python at hand: installed, asked, and tested as their teams would."""

import itertools
import re
from pathlib import Path

import pytest
from project import NEWEST, PYTHONS, generate

QUESTION = "What happens to a run when its process is killed?"
# Every Python with the two backends that most projects have; the others, of which moto is slow, with one.
PROJECTS = [*itertools.product(["sqlite", "postgres"], PYTHONS), ("valkey", NEWEST), ("dynamodb", NEWEST)]


@pytest.mark.parametrize(("backend", "python"), PROJECTS)
def test_fresh_project_answers_and_passes_its_tests(template: Path, tmp_path: Path, backend: str, python: str) -> None:
    fresh = generate(template, tmp_path, PYTHONS[python], backend=backend)
    answer = fresh.run("make", "run", f"Q={QUESTION}").stdout
    assert re.search(r"\[runbook\.md#\d+\]", answer), answer
    report = fresh.run("make", "test").stdout
    counted = re.search(r"(\d+) passed(.*)", report)
    assert counted, report
    assert "skipped" not in counted[2]
    assert fresh.run("git", "status", "--porcelain").stdout.split() == ["??", "uv.lock"], "it leaves files behind"
