"""The template under test: a clean copy of it, projects rendered from it, and versions of it to update between."""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import copier
import pathspec
import yaml
from copier import Settings

ROOT = Path(__file__).parents[1]
CONTRACT: Mapping[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text())
QUESTIONS: Mapping[str, Any] = {name: asked for name, asked in CONTRACT.items() if not name.startswith("_")}

CHOICES = ("backend", "worker", "model_provider", "ci", "python_min")
"""The questions that decide which files there are. The rest is text."""

YOURS = pathspec.PathSpec.from_lines(
    "gitignore",
    (
        line
        for block in CONTRACT["_exclude"]
        if "'update'" in block
        for line in block.splitlines()
        if line.startswith("/")
    ),
)
"""The files of a project that are its team's: copied once and never updated."""


def choices(question: str) -> list[str]:
    """Every answer that a question with choices accepts."""
    listed = QUESTIONS[question]["choices"]
    return list(listed.values() if isinstance(listed, dict) else listed)


def combinations() -> list[dict[str, str]]:
    """Every combination of the answers that decide which files there are."""
    return [dict(zip(CHOICES, answers, strict=True)) for answers in product(*map(choices, CHOICES))]


def snapshot(into: Path) -> Path:
    """Copy the working tree as a commit would hold it, new files included and ignored ones left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "copier.yml", "template"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():  # a file deleted but not yet committed is still listed
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, into / name)
    return into


def render(template: Path, project: Path, **answers: str) -> Path:
    """Generate a project as `copier copy --defaults` does, never trusting the template, and return its folder.

    Raises TypeError for an answer to a question that does not exist: Copier would ignore it, and the test would prove
    nothing. Raises ValueError, with the validator's text, for an answer that the template refuses.
    """
    _refuse_unknown(answers)
    copier.run_copy(
        str(template),
        project,
        data=answers,
        defaults=True,
        unsafe=False,
        quiet=True,
        settings=Settings(),
    )
    return project


def update(project: Path, **answers: str) -> None:
    """Update a project, whose files must be committed, to the template's newest release. Commit nothing."""
    _refuse_unknown(answers)
    copier.run_update(
        project, data=answers, defaults=True, overwrite=True, unsafe=False, quiet=True, settings=Settings()
    )


def _refuse_unknown(answers: Mapping[str, str]) -> None:
    if unknown := answers.keys() - QUESTIONS.keys():
        raise TypeError(f"copier.yml asks no such question: {', '.join(sorted(unknown))}")


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it printed."""
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(project: Path, message: str = "Work") -> None:
    """Commit all that a project holds, starting its repository where there is none."""
    if not (project / ".git").exists():
        git(project, "init", "--initial-branch=main")
    git(project, "add", "--all")
    git(project, "commit", "--allow-empty", "--message", message)


def files(folder: Path) -> dict[str, bytes]:
    """The content of every file below a folder, git's own left out, by its path from there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def managed(folder: Path) -> dict[str, bytes]:
    """The files of a project that an update merges: all but the team's."""
    return {name: content for name, content in files(folder).items() if not YOURS.match_file(name)}


def yours(folder: Path) -> dict[str, bytes]:
    """The files of a project that no update touches."""
    return {name: content for name, content in files(folder).items() if YOURS.match_file(name)}


def conflicts(project: Path) -> list[str]:
    """The paths that git holds as unmerged, and files of rejected hunks: Copier exits 0 with both."""
    unmerged = git(project, "diff", "--diff-filter=U", "--name-only").splitlines()
    marked = [name for name, content in files(project).items() if b"\n<<<<<<< " in content]
    return [*unmerged, *marked, *(path.name for path in project.rglob("*.rej"))]


def changed(project: Path) -> set[str]:
    """The paths that differ from the last commit, new and deleted ones included."""
    git(project, "add", "--all")
    return set(git(project, "diff", "--cached", "--name-only", "--no-renames").splitlines())


@dataclass(frozen=True)
class Versions:
    """A repository of the template in which a test edits files and releases them."""

    path: Path

    def release(self, tag: str) -> None:
        """Commit the files as they are now and tag them, as a release of the template does."""
        commit(self.path, tag)
        git(self.path, "tag", "--annotate", tag, "--message", tag)

    def write(self, name: str, content: str) -> None:
        """Create or replace a file, named by its path from the template's folder."""
        path = self.path / "template" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace a text that stands exactly once in a file."""
        replace(self.path / "template" / name, old, new)

    def remove(self, name: str) -> None:
        """Delete a file."""
        (self.path / "template" / name).unlink()


def replace(path: Path, old: str, new: str) -> None:
    """Replace a text that stands exactly once in a file."""
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
    path.write_text(text.replace(old, new))
