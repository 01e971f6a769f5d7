"""The files that other programs read are valid to those programs, and the workflows are safe."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from template import ROOT, choices

Render = Callable[..., Path]


def passes(*command: str | Path) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def uses(workflows: Path) -> set[str]:
    return {use for path in workflows.glob("*.yml") for use in re.findall(r"uses: *(.+)", path.read_text())}


@pytest.mark.parametrize("where", ["template", *choices("backend")])
def test_workflows_are_valid_and_safe(render: Render, where: str) -> None:
    workflows = (ROOT if where == "template" else render(ci="github", backend=where)) / ".github" / "workflows"
    assert list(workflows.glob("*.yml"))
    passes("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows.glob("*.yml"))
    passes("zizmor", "--offline", "--no-progress", "--persona=pedantic", workflows)


def test_actions_are_pinned_to_commits_and_agree(render: Render) -> None:
    # The template owns the pins: an update moves them in every project.
    theirs = uses(render(ci="github") / ".github" / "workflows")
    assert theirs
    assert theirs <= uses(ROOT / ".github" / "workflows")
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use) for use in theirs)


def test_no_checkout_leaves_its_token_behind(render: Render) -> None:
    for workflows in (ROOT / ".github" / "workflows", render(ci="github") / ".github" / "workflows"):
        text = "".join(path.read_text() for path in workflows.glob("*.yml"))
        assert text.count("actions/checkout@") == text.count("persist-credentials: false") > 0


@pytest.mark.parametrize("backend", choices("backend"))
def test_gitlab_pipeline_is_valid(render: Render, backend: str) -> None:
    pipeline = render(ci="gitlab", backend=backend) / ".gitlab-ci.yml"
    passes("check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci", pipeline)


@pytest.mark.parametrize("backend", ["postgres", "postgres+pgbouncer", "valkey", "dynamodb"])
def test_compose_file_is_valid(render: Render, backend: str) -> None:
    compose = render(backend=backend, worker="procrastinate") / "compose.yaml"
    passes("check-jsonschema", "--builtin-schema", "vendor.compose-spec", compose)


def test_hooks_are_valid_and_local(render: Render) -> None:
    hooks = render() / ".pre-commit-config.yaml"
    passes("pre-commit", "validate-config", hooks)
    assert "rev:" not in hooks.read_text(), "a remote hook is a second set of versions"
