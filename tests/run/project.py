"""A generated project that is really installed and run, as its team would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import template

NAME = "acme-agent"
PACKAGE = "acme_agent"
VERSIONS = ("3.11", "3.12", "3.13", "3.14")


class Project:
    """A project in a folder, with an environment of its own; `python` is an interpreter's path or version."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        self.source = folder / "src" / PACKAGE
        # PYTHONDONTWRITEBYTECODE would have every process compile every library again, as on no team's machine.
        outside = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "MAKEFLAGS", "MAKELEVEL"}
        self._environment = {name: value for name, value in os.environ.items() if name not in outside}
        self._environment |= {"UV_PYTHON": python, "UV_PYTHON_DOWNLOADS": "never"}
        self._environment = {
            name: value for name, value in self._environment.items() if not name.startswith(("PYTEST_", "COV_"))
        }

    def run(self, *command: str, check: bool = True, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the project's folder and return what it printed, stderr included."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} exited {done.returncode}:\n{done.stdout[-6000:]}")
        return done

    def popen(self, *command: str) -> "subprocess.Popen[str]":
        """Start a command in the project's folder."""
        return subprocess.Popen(
            command, cwd=self.folder, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


def generate(source: Path, folder: Path, python: str, **answers: str) -> Project:
    """Generate the project from a snapshot of the template, and commit it as the message after the copy says."""
    template.render(source, folder / NAME, **answers)
    template.commit(folder / NAME, "Start from the template")
    return Project(folder / NAME, python)


def uv() -> str:
    """The path of uv: `make test` runs the tests with it, and puts its own one on no PATH."""
    return os.environ.get("UV") or shutil.which("uv") or "uv"


def pythons() -> dict[str, str]:
    """The supported versions of Python that this machine has, each with its interpreter: this one, uv's, pyenv's."""
    versions = Path(_printed("pyenv", "root") or "/nowhere", "versions")
    found = {}
    for version in VERSIONS:
        by_uv = _printed(uv(), "python", "find", "--no-project", "--no-python-downloads", version)
        by_pyenv = sorted(map(str, versions.glob(f"{version}.*/bin/python")))
        ours = sys.executable if version == f"{sys.version_info.major}.{sys.version_info.minor}" else ""
        if interpreter := ours or by_uv or "".join(by_pyenv[-1:]):
            found[version] = interpreter
    return found


def _printed(*command: str) -> str:
    """What a program printed; nothing when it is missing or fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


PYTHONS = pythons()
OLDEST, *_, NEWEST = [*PYTHONS, *PYTHONS]
