"""What the diagnosis' tests share: a doctor, and processes that are at work on a thread when something happens."""

from __future__ import annotations  # Shell has a name for mypy only

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from acme_agent.agent import AgentSettings
from pydantic import SecretStr

if TYPE_CHECKING:
    from plumbing.conftest import Shell  # tests are not a package: nothing can be imported from there

CLIENT = Path(__file__).with_name("client.py")
SET_BY_US = "LANGGRAPH_STRICT_MSGPACK"  # by the package, when it is imported
COMMAND = "from acme_agent.cli import main; main()"

Findings = dict[str, list[dict[str, Any]]]  # Any: what JSON can hold


class Doctor:
    """Types `doctor`, and returns what it found by its subjects."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.code = 0

    def __call__(self, *arguments: str) -> Findings:
        """Return the findings; `code` is the exit code."""
        self.code = self._shell("doctor", "--json", *arguments)
        found: Findings = {}
        for fact in self._shell.objects():
            found.setdefault(fact["subject"], []).append(fact)
        levels = {fact["level"] for facts in found.values() for fact in facts}
        assert self.code == ("wrong" in levels)
        return found

    def cause(self, thread: str) -> tuple[str, str]:
        """Return the level and the text of the one cause."""
        (cause,) = self(*("--thread", thread))["cause"]
        return cause["level"], cause["text"]


@pytest.fixture
def doctor(shell: Shell) -> Doctor:
    """A doctor of the settings in the environment."""
    return Doctor(shell)


@pytest.fixture
def server(shell: Shell, monkeypatch: pytest.MonkeyPatch, database: str) -> Shell:
    """A shell whose threads are in a PostgreSQL database of the test's own."""
    monkeypatch.setenv("DATABASE_URL", database)
    return shell


@pytest.fixture
def agent_settings(database: str, tmp_path: Path) -> AgentSettings:
    """Settings for that database."""
    return AgentSettings(_env_file=None, database_url=SecretStr(database), data_dir=tmp_path)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a process which executes a run on a thread, and is in the middle of its node."""
    processes = []

    def start(thread: str, url: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(CLIENT), thread],
            env=os.environ | {"DATABASE_URL": url},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout
        assert process.stdout.readline() == "at work\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that types a command, or runs other code, in a process of its own; it waits for nothing."""
    processes = []

    def start(*arguments: str, code: str = COMMAND) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={name: value for name, value in os.environ.items() if name != SET_BY_US},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()
