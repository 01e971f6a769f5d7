"""What the template promises about itself: no trust, plain names, one list of rules, one list of owners."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pathspec
import pytest
import yaml

from template import CONTRACT, ROOT, Versions, choices, files

Render = Callable[..., Path]

SOURCE = ROOT / "template"


def rules(path: Path) -> dict[str, object]:
    ruff = tomllib.loads(path.read_text())["tool"]["ruff"]
    return {name: ruff["lint"][name] for name in ("select", "ignore")} | {"line-length": ruff["line-length"]}


def test_copying_needs_no_trust() -> None:
    # One release with a task would tax the next update too, so none may ever have one.
    assert not CONTRACT.keys() & {"_tasks", "_migrations", "_jinja_extensions"}


def test_copier_copies_unasked_from_the_command_line(
    versions: Versions, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    settings = tmp_path / "settings.yml"
    settings.write_text("{}\n")
    done = subprocess.run(
        [sys.executable, "-m", "copier", "copy", "--defaults", versions.path, tmp_path / "triage desk"],
        env={"COPIER_SETTINGS_PATH": str(settings), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert f"cd '{tmp_path / 'triage desk'}'" in done.stderr, "the next commands can be pasted"
    assert "uv run triage-desk migrate" in done.stderr
    answers = yaml.safe_load((tmp_path / "triage desk" / ".copier-answers.yml").read_text())
    assert answers["_commit"] == "v1.0.0"
    assert answers["project_name"] == "triage-desk"


def test_paths_work_on_every_system() -> None:
    awkward = [path for path in SOURCE.rglob("*") if re.search(r'[<>:"|?*\\]|[ .]$', path.name)]
    assert not awkward


def test_python_of_the_package_is_plain() -> None:
    # So ruff and mypy check the template's source as it stands.
    package = SOURCE / "src" / "{{ package_name }}"
    assert not list(package.rglob("*.jinja"))
    for path in package.rglob("*.py"):
        assert not re.search(r"\{%|\{\{ *(package|project)_name|^from \{\{", path.read_text()), path


def test_every_owned_or_excluded_path_exists(render: Render) -> None:
    # A pattern that matches nothing protects nothing: the file moved, or the pattern is misspelt.
    rendered = {
        path
        for ci in ("github", "gitlab")
        for backend in choices("backend")
        for path in files(render(ci=ci, backend=backend, worker="procrastinate"))
    }
    patterns = [line for block in CONTRACT["_exclude"] for line in block.splitlines() if line.startswith("/")]
    assert patterns
    for pattern in patterns:
        assert any(pathspec.PathSpec.from_lines("gitignore", [pattern]).match_files(rendered)), pattern


def test_the_readme_names_the_same_owners(render: Render) -> None:
    told = next(line for line in (render() / "README.md").read_text().splitlines() if line.endswith("re-created |"))
    named = {path.rstrip("/") for path in re.findall(r"`([^`]+)`", told.split("|")[1])}
    owned = [block for block in CONTRACT["_exclude"] if "'update'" in block]
    declared = {path for block in owned for path in re.findall("^/(.+)", block, re.MULTILINE)}
    assert {path.replace("support_agent", "*") for path in named} == declared


def test_the_template_is_held_to_the_rules_of_its_projects(render: Render) -> None:
    project = render() / "pyproject.toml"
    assert rules(ROOT / "pyproject.toml") == rules(project)
    ours, theirs = (tomllib.loads(path.read_text())["tool"]["mypy"] for path in (ROOT / "pyproject.toml", project))
    for name in ("strict", "warn_unreachable", "plugins", "enable_error_code"):
        assert ours[name] == theirs[name]


def test_the_test_environment_has_what_a_project_gets(render: Render) -> None:
    environment = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["template"]
    for backend in choices("backend"):
        project = tomllib.loads(pyproject(render(backend=backend, worker="procrastinate")))["project"]
        assert set(project["dependencies"]) <= set(environment)


def test_dependencies_end_where_a_team_adds_its_own(render: Render) -> None:
    # `uv add` appends after this line, so a line that the template adds above it never conflicts.
    for backend in choices("backend"):
        for block in re.findall(
            r"^(?:dependencies|dev) = \[\n(.*?)^\]", pyproject(render(backend=backend)), re.MULTILINE | re.DOTALL
        ):
            assert re.fullmatch(r" +# Add your own .* below this line\.", block.splitlines()[-1])


def test_every_ignored_rule_has_its_reason(render: Render) -> None:
    ignored = re.findall(r'^ +"[A-Z]+[0-9]{3,}",(.*)$', pyproject(render()), re.MULTILINE)
    assert ignored
    assert all(re.search(r"# \S+ \S+", reason) for reason in ignored)


def pyproject(project: Path) -> str:
    return (project / "pyproject.toml").read_text()


@pytest.mark.parametrize("backend", choices("backend"))
def test_every_make_target_that_is_named_exists(render: Render, backend: str) -> None:
    for ci in ("github", "gitlab"):
        project = render(backend=backend, ci=ci)
        targets = set(re.findall(r"^([a-z-]+):.* ## ", (project / "Makefile").read_text(), re.MULTILINE))
        assert {"run", "test", "ready", "lint", "format", "migrate", "check-update"} <= targets
        named = [
            (path, target)
            for path, content in files(project).items()
            if path.endswith((".md", ".yml", ".yaml", ".jinja"))
            for target in re.findall(r"(?:^|[`>] ?|run: |- )make ([a-z-]+)", content.decode(), re.MULTILINE)
        ]
        assert [(path, target) for path, target in named if target not in targets] == []
        assert named
        for target in targets:
            subprocess.run(["make", "--dry-run", target], cwd=project, check=True, capture_output=True)
