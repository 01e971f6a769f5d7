"""A project of an earlier state of this repository updates to the working tree."""

import subprocess
from pathlib import Path

import pytest

from template import ROOT, Versions, changed, commit, conflicts, git, managed, render, replace, snapshot, update, yours

OURS = '    "our-dependency>=2",\n'
ANCHOR = "    # Add your own dependencies below this line.\n"


def earlier_states() -> list[str]:
    """The last two releases, and the last two commits of the template: fewer while the history is short."""
    if not git(ROOT, "rev-list", "--all", "--max-count=1"):
        return []
    tags = git(ROOT, "tag", "--list", "v*", "--merged=HEAD", "--sort=-version:refname").splitlines()[:2]
    commits = git(ROOT, "log", "--format=%H", "--max-count=2", "--", "copier.yml", "template").splitlines()
    return [state for state in (*tags, *commits) if "copier.yml" in git(ROOT, "ls-tree", "--name-only", state)]


def export(state: str, into: Path) -> Path:
    """Lay out the template as it was at a commit."""
    into.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", state, "--", "copier.yml", "template"], cwd=ROOT, check=True, capture_output=True
    )
    subprocess.run(["tar", "-x"], cwd=into, input=archive.stdout, check=True)
    return into


@pytest.mark.parametrize("edited", [False, True], ids=["clean", "edited"])
def test_a_project_of_an_earlier_state_updates_to_this_one(tmp_path: Path, edited: bool) -> None:
    for number, state in enumerate(earlier_states()):
        base = tmp_path / str(number)
        versions = Versions(export(state, base / "versions"))
        versions.release("v1.0.0")
        project = render(versions.path, base / "support-agent")
        if edited:
            replace(project / "pyproject.toml", ANCHOR, ANCHOR + OURS)
            (project / "README.md").write_text("# Ours\n")
            (project / "src" / "support_agent" / "agent" / "ours.py").write_text("OURS = 1\n")
            (project / ".env.example").unlink()
        commit(project)
        before = yours(project)

        git(versions.path, "rm", "-r", "--quiet", ".")
        snapshot(versions.path)
        versions.release("v2.0.0")
        update(project)

        assert conflicts(project) == [], state
        assert yours(project) == before, state
        expected = managed(render(versions.path, base / "fresh", project_name="support-agent"))
        if edited:
            expected["pyproject.toml"] = expected["pyproject.toml"].replace(ANCHOR.encode(), (ANCHOR + OURS).encode())
            del expected[".env.example"]
        assert managed(project) == expected, state

        commit(project)
        update(project)
        assert changed(project) == set(), state
