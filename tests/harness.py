"""Violations: small patches to a rendered project, such as a team would write, and what the standard says of them.

A project is rendered and installed once for a worker. A case copies its files, patches the copy, and runs the standard
on that in a process of its own, with the installed project's environment: `PYTHONPATH` puts the copy's source first.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from project import PACKAGE, Project, generate, uv

import template

HEAVY = frozenset({"R01", "R08", "R11", "R14", "R17"})
"""Checks that take seconds by themselves: run for a case only if it is about them, or names them in `also`."""


@dataclass(frozen=True)
class Verdicts:
    """What the standard said of a case, by the check's id. Any: what JSON can hold; see `engine/reports.py`."""

    checks: dict[str, dict[str, Any]]
    output: str

    @property
    def failing(self) -> set[str]:
        """The checks that fail."""
        return {id_ for id_, verdict in self.checks.items() if verdict["result"] == "fails"}

    def problems(self, id_: str) -> str:
        """What a check found, a line each."""
        return "\n".join(problem["text"] for problem in self.checks[id_]["problems"])


@dataclass(frozen=True)
class Case:
    """A copy of a project."""

    folder: Path
    installed: Project

    @property
    def package(self) -> Path:
        """The package's folder."""
        return self.folder / "src" / PACKAGE

    def replace(self, file: str, old: str, new: str) -> "Case":
        """Replace a text that stands exactly once in a file, which is named by its path from the package."""
        template.replace(self.package / file, old, new)
        return self

    def write(self, file: str, text: str) -> "Case":
        """Write a file, named by its path from the package."""
        path = self.package / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return self

    def ready(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run the standard on the case, in one process."""
        python = self.installed.folder / ".venv" / "bin" / "python"
        outside = {"VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE", "MAKEFLAGS", "MAKELEVEL"}
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in outside and not name.startswith(("PYTEST_", "COV_"))
        }
        more = [] if "--" in arguments else ["--"]
        return subprocess.run(
            [str(python), "-m", f"{PACKAGE}.readiness", *arguments, *more, "-p", "no:cacheprovider"],
            cwd=self.folder,
            env={**inherited, "PYTHONPATH": str(self.folder / "src"), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def verdicts(self, ids: Collection[str], *, scenario: str = "") -> Verdicts:
        """Return what the checks say of the case; by one scenario only, if it is named."""
        chosen = ["--only", ",".join(sorted(ids)), "--format", "json", *(("--scenario", scenario) if scenario else ())]
        done = self.ready(*chosen)
        if not done.stdout.startswith("{"):
            raise AssertionError(f"the standard did not run:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return Verdicts({check["id"]: check for check in json.loads(done.stdout)["checks"]}, done.stderr)


def install(source: Path, folder: Path, backend: str, **answers: str) -> Project:
    """Generate a project and install what it needs."""
    project = generate(source, folder, sys.executable, backend=backend, **answers)
    project.run(uv(), "sync", "--quiet")
    return project


def copy(installed: Project, folder: Path) -> Case:
    """Return a copy of a project's files."""
    left_out = shutil.ignore_patterns(".venv", ".git", "__pycache__", ".*_cache", ".data")
    shutil.copytree(installed.folder, folder, ignore=left_out)
    return Case(folder, installed)


def light(installed: Project) -> set[str]:
    """Return the ids of the checks that every case runs."""
    room = installed.source / "readiness"
    return {file.name[:3].upper() for file in room.glob("r[0-9][0-9]_*.py")} - HEAVY


def assert_fails(case: Case, id_: str, *said: str, also: Collection[str] = (), scenario: str = "") -> Verdicts:
    """Assert that a check fails on the case, saying all of `said`, and no other one but those in `also`."""
    verdicts = case.verdicts({id_, *also, *light(case.installed)}, scenario=scenario)
    assert verdicts.failing == {id_, *also}, {each: verdicts.problems(each) for each in verdicts.failing ^ {id_, *also}}
    for text in said:
        assert text in verdicts.problems(id_), verdicts.problems(id_)
    assert verdicts.checks[id_]["remedy"]
    return verdicts


def assert_holds(case: Case, id_: str, *, scenario: str = "") -> Verdicts:
    """Assert that a near miss passes everything, and that the check it is near to has looked at something."""
    verdicts = case.verdicts({id_, *light(case.installed)}, scenario=scenario)
    assert not verdicts.failing, {each: verdicts.problems(each) for each in verdicts.failing}
    assert verdicts.checks[id_]["result"] == "holds"
    return verdicts
