"""The commands `run --queue` and `worker`, as they are typed."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from acme_agent import cli, rooms
from acme_agent.agent.offline_scenarios import EXAMPLES

QUESTION = "How many books may a member borrow?"
PROGRAM = "import sys; from acme_agent.cli import main; sys.argv[0] = 'acme-agent'; main()"


def worker(folder: Path, *arguments: str, **env: str) -> "subprocess.Popen[str]":
    """Type `acme-agent worker` in a folder."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "worker", *arguments],
        env=os.environ | env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Return the exit code and what it wrote to stderr, once it has ended."""
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_a_queued_run_is_answered_by_a_worker(
    shell: Any, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    assert shell("run", QUESTION, "--queue", "--thread-id", "t") == 0
    assert "queued: a worker takes it up" in shell.err
    assert shell("run", QUESTION, "--queue", "--json") == 0
    assert shell.objects()[-1]["condition"] == "queued"
    process = worker(tmp_path, "--concurrency", "3")
    try:
        assert process.stderr
        assert process.stderr.readline() == "acme-agent: worker ready, 3 runs at once\n"
        assert shell("run", "What does printing cost?", "--thread-id", "t") == 0  # in its turn: after the worker's
        assert shell.out
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (0, "")
    finally:
        process.kill()
    assert shell("history", "t", "--json") == 0
    assert {line["verdict"] for line in shell.objects()} >= {"approved"}


def test_without_postgresql_it_says_so(shell: Any, tmp_path: Path) -> None:
    assert shell("run", QUESTION, "--queue") == 2
    assert "set DATABASE_URL to postgresql://" in shell.err
    assert shell("threads", "--json") == 0
    assert shell.out == ""
    code, err = ended(worker(tmp_path))
    assert (code, err.count("\n")) == (2, 1)
    assert "workers need PostgreSQL" in err


def test_what_the_worker_decides_cannot_be_given(shell: Any, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    assert shell("run", QUESTION, "--queue", "--docs", ".") == 2
    assert "--docs cannot be given with --queue" in shell.err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"DOCS": "nothing"}, "nothing"), ({"PURGE_SCHEDULE": "at night"}, "PURGE_SCHEDULE='at night'")],
    ids=["docs", "schedule"],
)
def test_a_worker_that_cannot_work_does_not_begin(
    database: str, tmp_path: Path, wrong: dict[str, str], said: str
) -> None:
    code, err = ended(worker(tmp_path, **{"DATABASE_URL": database, "DOCS": str(EXAMPLES), **wrong}))
    assert (code, err.count("\n")) == (2, 1)
    assert said in err


def test_a_project_without_workers_says_where_they_come_from(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(module: str) -> None:
        assert module.startswith("worker.")

    monkeypatch.setattr(cli, "optional", nothing)
    assert shell("run", QUESTION, "--queue") == 2
    assert "docs/persistence.md says what adds them" in shell.err


def test_a_room_that_lacks_its_library_is_not_taken_for_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rooms.optional("nowhere") is None
    assert rooms.optional("nowhere.at_all") is None
    monkeypatch.setitem(sys.modules, "procrastinate", None)
    monkeypatch.delitem(sys.modules, "acme_agent.worker.queue", raising=False)
    with pytest.raises(ModuleNotFoundError, match="procrastinate"):
        rooms.optional("worker.queue")
