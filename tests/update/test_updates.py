"""`copier update` brings the template's fixes, and never costs a team a line of its own."""

import shutil
from pathlib import Path

import pytest

from template import Versions, changed, commit, conflicts, files, git, managed, render, replace, update, yours

AGENT = "src/support_agent/agent/"
PACKAGE = "src/{{ package_name }}/"

MANAGED = "src/support_agent/persistence/notes.py"
STARTER = "src/support_agent/agent/notes.py"
ADDED_STARTER = "src/support_agent/agent/added.py"
DROPPED_STARTER = "src/support_agent/agent/dropped.py"
DROPPED_MANAGED = "src/support_agent/runs/dropped.py"

LINES = [f"LINE_{number} = {number}" for number in range(1, 31)]
V1 = "\n".join(LINES) + "\n"
V2 = V1.replace("LINE_30 = 30", "LINE_30 = 300")


@pytest.fixture
def project(versions: Versions, tmp_path: Path) -> Path:
    """A project of release v1.1.0, committed. The tests' own files stand for the template's source."""
    shutil.rmtree(versions.path / "template" / "src")
    shutil.rmtree(versions.path / "template" / "tests", ignore_errors=True)
    for name in ("persistence/notes.py", "agent/notes.py", "agent/dropped.py", "runs/dropped.py"):
        versions.write(PACKAGE + name, V1)
    versions.write("README.md.jinja", "# {{ project_name }}\n")
    versions.write("tests/test_starter.py", V1)
    versions.release("v1.1.0")
    made = render(versions.path, tmp_path / "support-agent")
    assert (made / STARTER).exists()
    assert (made / MANAGED).exists()
    commit(made, "Start")
    return made


def release_two(versions: Versions) -> None:
    """A release that changes, adds and drops both managed and starter files."""
    for name in ("persistence/notes.py", "agent/notes.py"):
        versions.write(PACKAGE + name, V2)
    versions.write(PACKAGE + "persistence/added.py", V1)
    versions.write(PACKAGE + "agent/added.py", V1)
    versions.write("tests/test_starter.py", V2)
    versions.write("tests/test_added.py", V1)
    versions.remove(PACKAGE + "agent/dropped.py")
    versions.remove(PACKAGE + "runs/dropped.py")
    versions.write("README.md.jinja", "# {{ project_name }}, renewed\n")
    versions.replace("Makefile.jinja", "help: ## Show these commands", "help: ## Show all commands")
    versions.replace(
        "pyproject.toml.jinja",
        "    # Add your own dependencies below this line.",
        '    "a-new-dependency>=1",\n    # Add your own dependencies below this line.',
    )
    versions.release("v2.0.0")


def test_an_unedited_project_becomes_a_fresh_one_but_for_the_teams_files(
    project: Path, versions: Versions, tmp_path: Path
) -> None:
    release_two(versions)
    update(project)
    assert conflicts(project) == []
    assert changed(project) == {
        ".copier-answers.yml",
        "Makefile",
        "pyproject.toml",
        MANAGED,
        DROPPED_MANAGED,
        "src/support_agent/persistence/added.py",
    }
    assert managed(project) == managed(render(versions.path, tmp_path / "fresh", project_name="support-agent"))


def test_edits_of_a_team_survive_and_nothing_conflicts(project: Path, versions: Versions) -> None:
    replace(project / MANAGED, "LINE_2 = 2\n", "LINE_2 = 'ours'\n")  # far from the release's change
    replace(project / STARTER, "LINE_30 = 30\n", "LINE_30 = 'ours'\n")  # on the release's change
    replace(project / "Makefile", "Q ?= What happens to a run when its process is killed?", "Q ?= What do we sell?")
    replace(
        project / "pyproject.toml",
        "    # Add your own dependencies below this line.\n",
        '    # Add your own dependencies below this line.\n    "our-dependency>=2",\n',
    )
    (project / "README.md").write_text("# Ours\n")
    (project / AGENT / "ours.py").write_text("OURS = 1\n")
    (project / DROPPED_STARTER).write_text("STILL_USED = 1\n")
    commit(project, "Make it ours")
    before = yours(project)
    assert {STARTER, DROPPED_STARTER, "README.md", "tests/test_starter.py", AGENT + "ours.py"} <= before.keys()

    release_two(versions)
    update(project)

    assert conflicts(project) == []
    after = files(project)
    assert b"LINE_2 = 'ours'" in after[MANAGED]
    assert b"LINE_30 = 300" in after[MANAGED]
    assert b"What do we sell?" in after["Makefile"]
    assert b"Show all commands" in after["Makefile"]
    assert b"our-dependency" in after["pyproject.toml"]
    assert b"a-new-dependency" in after["pyproject.toml"]
    assert yours(project) == before


def test_a_file_that_the_team_deleted_stays_deleted(project: Path, versions: Versions) -> None:
    for name in (MANAGED, STARTER, "README.md", ".pre-commit-config.yaml"):
        (project / name).unlink()
    shutil.rmtree(project / "tests")
    commit(project, "Delete")
    release_two(versions)
    update(project)
    assert conflicts(project) == []
    for name in (MANAGED, STARTER, "README.md", ".pre-commit-config.yaml", "tests"):
        assert not (project / name).exists(), name


def test_starter_files_of_a_later_release_do_not_intrude(project: Path, versions: Versions) -> None:
    release_two(versions)
    update(project)
    assert not (project / ADDED_STARTER).exists()
    assert not (project / "tests" / "test_added.py").exists()
    assert (project / DROPPED_STARTER).exists(), "the template forgot it, the team did not"


@pytest.mark.parametrize("edited", [False, True], ids=["clean", "edited"])
def test_a_second_update_changes_nothing(project: Path, versions: Versions, edited: bool) -> None:
    if edited:
        replace(project / MANAGED, "LINE_2 = 2\n", "LINE_2 = 'ours'\n")
        replace(project / STARTER, "LINE_30 = 30\n", "LINE_30 = 'ours'\n")
        (project / ".pre-commit-config.yaml").unlink()
        commit(project, "Make it ours")
    release_two(versions)
    update(project)
    commit(project, "Update")
    update(project)
    assert changed(project) == set()


def test_a_real_conflict_is_shown_not_settled(project: Path, versions: Versions) -> None:
    replace(project / MANAGED, "LINE_30 = 30\n", "LINE_30 = 'ours'\n")
    commit(project, "Make it ours")
    release_two(versions)
    update(project)
    assert MANAGED in git(project, "diff", "--diff-filter=U", "--name-only").splitlines()
    text = (project / MANAGED).read_text()
    assert "LINE_30 = 'ours'" in text
    assert "LINE_30 = 300" in text


def test_answers_survive_an_update(versions: Versions, tmp_path: Path) -> None:
    answers = {
        "description": '"quoted" \\ {{ 7 * 7 }} — 🤖: [x]',
        "backend": "sqlite",
        "model_provider": "anthropic",
        "ci": "gitlab",
        "python_min": "3.12",
    }
    project = render(versions.path, tmp_path / "support-agent", **answers)
    commit(project)
    versions.replace("Makefile.jinja", "help: ## Show these commands", "help: ## Show all commands")
    versions.release("v2.0.0")
    update(project)
    assert conflicts(project) == []
    assert changed(project) == {".copier-answers.yml", "Makefile"}
    fresh = files(render(versions.path, tmp_path / "fresh", project_name="support-agent", **answers))
    assert files(project) == fresh


@pytest.mark.parametrize(
    "way",
    [("postgres", "postgres+pgbouncer"), ("valkey", "postgres"), ("postgres", "valkey", "dynamodb"), ("dynamodb",)],
)
def test_a_project_grows_from_sqlite_to_servers_and_back(
    versions: Versions, tmp_path: Path, way: tuple[str, ...]
) -> None:
    project = render(versions.path, tmp_path / "support-agent", backend="sqlite")
    commit(project)
    sqlite = files(project)
    (project / "README.md").write_text("# Ours\n")
    commit(project)

    for backend in way:
        update(project, backend=backend)
        assert conflicts(project) == []
        fresh = render(versions.path, tmp_path / f"fresh-{backend}", project_name="support-agent", backend=backend)
        assert "compose.yaml" in managed(fresh)
        for names, module in (
            (["postgres", "postgres+pgbouncer"], "postgres.py"),
            (["valkey"], "valkey.py"),
            (["dynamodb"], "dynamodb.py"),
            (["valkey", "dynamodb"], "items/saver.py"),
        ):
            there = f"src/support_agent/persistence/{module}" in managed(project)
            assert there is (backend in names), module
        assert managed(project) == managed(fresh)
        assert (project / "README.md").read_text() == "# Ours\n"
        commit(project)
        shutil.rmtree(tmp_path / f"fresh-{backend}")

    update(project, backend="sqlite")
    assert conflicts(project) == []
    assert files(project) == sqlite | {"README.md": b"# Ours\n"}
