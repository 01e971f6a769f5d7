"""Fixtures of all tests: the template as it is now, and projects rendered from it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import template as template_under_test
from template import Versions, snapshot


def pytest_configure() -> None:
    """Make every test, and what it starts, blind to this machine's git settings and environments."""
    for name in [name for name in os.environ if name.startswith("GIT_")] + ["VIRTUAL_ENV"]:
        os.environ.pop(name, None)  # in a git hook GIT_DIR would lead every command to this repository
    os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        os.environ |= {f"GIT_{who}_NAME": "Test", f"GIT_{who}_EMAIL": "test@example.com"}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as the working tree holds it. Not to be changed."""
    return snapshot(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def render(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`render(**answers)` returns the folder of a generated project. Each is made once: copy it to change it."""
    made: dict[frozenset[tuple[str, str]], Path] = {}

    def render(**answers: str) -> Path:
        key = frozenset(answers.items())
        if key not in made:
            made[key] = template_under_test.render(template, tmp_path_factory.mktemp("p") / "support-agent", **answers)
        return made[key]

    return render


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    """A repository of the template with one release, v1.0.0: the working tree."""
    made = Versions(snapshot(tmp_path / "versions"))
    made.release("v1.0.0")
    return made
