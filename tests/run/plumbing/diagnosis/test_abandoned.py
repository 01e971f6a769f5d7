"""`resume --abandoned`: after a machine has gone away, one command goes on with all that was at work on it."""

from __future__ import annotations  # Shell has a name for mypy only

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import pytest
from acme_agent.agent import AgentSettings, new_input
from acme_agent.persistence import DatabaseUnreachable, Run
from acme_agent.runs import Runs, open_runs
from acme_agent.runs.holder import machine

if TYPE_CHECKING:
    from plumbing.conftest import Shell  # tests are not a package: nothing can be imported from there

T = TypeVar("T")
Client = Callable[..., subprocess.Popen[str]]

FILE = "sqlite:///threads.db"


@pytest.fixture
def without_queue(database_url: str, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a database whose runs nobody takes from a queue; on PostgreSQL a project without workers has that."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setattr("acme_agent.abandoned.optional", lambda _: None)
    return database_url


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def runs_of(threads: list[str]) -> list[Run]:
    """Return all runs of the threads, as the ledger has them."""

    async def read(runs: Runs) -> list[Run]:
        return [run for thread in threads for run in await runs.ledger.newest(thread, 10)]

    return in_runs(read)


def in_runs(act: Callable[[Runs], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with open_runs(AgentSettings()) as runs:
            return await act(runs)

    return asyncio.run(opened())


def test_all_are_gone_on_with_and_those_behind_them(shell: Shell, client: Client, without_queue: str) -> None:
    clients = {thread: client(thread, without_queue) for thread in ("one", "two", "alive")}
    in_runs(lambda runs: runs.ledger.accept(str(uuid4()), "one", new_input("What does printing cost?"), mode="enqueue"))
    kill(clients["one"])
    kill(clients["two"])
    assert shell("resume", "--abandoned", "--json") == 0
    ended = [event for event in shell.objects() if event["event"] == "end"]
    assert {(event["thread_id"], event["condition"]) for event in ended} == {("one", "done"), ("two", "done")}
    assert "threads gone on with: 2 done" in shell.err
    assert [run.status for run in runs_of(["one", "two", "alive"])] == ["done", "done", "done", "running"]
    assert shell("resume", "--abandoned") == 0
    assert "none, no run is abandoned" in shell.err


def test_one_that_fails_does_not_stop_the_others(shell: Shell, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", FILE)
    process = client("asked", FILE)
    kill(process)
    dead = f"{machine()}/{process.pid}/x"
    in_runs(lambda runs: runs.ledger.begin("delete-x", "cut", {"$reserved": "delete"}, holder=dead))
    in_runs(lambda runs: runs.ledger.accept("x", "never-begun", new_input("What does printing cost?"), mode="enqueue"))
    monkeypatch.setattr("acme_agent.runs.looking.STRANDED", 0.0)
    assert shell("resume", "--abandoned") == 1
    assert "a delete of thread cut was cut off: do it again" in shell.err
    assert "threads gone on with: 2 done, 1 failed" in shell.err


def test_an_error_that_the_ledger_does_not_have_is_told(
    shell: Shell, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", FILE)
    kill(client("one", FILE))

    async def breaks(*_: object, **_more: object) -> None:
        raise RuntimeError("out of the blue")

    monkeypatch.setattr(Runs, "resume", breaks)
    assert shell("resume", "--abandoned") == 1
    assert "thread one: RuntimeError: out of the blue" in shell.err
    assert "threads gone on with: 1 unfinished" in shell.err


def test_all_stop_when_the_database_is_away(shell: Shell, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of a hundred would wait for it as long as DATABASE_PATIENCE says."""
    monkeypatch.setenv("DATABASE_URL", FILE)
    for thread in ("one", "two"):
        kill(client(thread, FILE))
    asked: list[str] = []

    async def away(_: Runs, thread: str, **_more: object) -> None:
        asked.append(thread)
        raise DatabaseUnreachable("the database", "no answer")

    monkeypatch.setattr(Runs, "resume", away)
    assert shell("resume", "--abandoned") == 2
    assert "the database cannot be used: no answer" in shell.err
    assert asked == ["one"]


@pytest.mark.usefixtures("shell")  # its folder and documents
def test_two_may_do_it_at_once(client: Client, command: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", FILE)
    threads = ["one", "two", "three"]
    for process in [client(thread, FILE) for thread in threads]:
        kill(process)
    both = [command("resume", "--abandoned") for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [(run.status, run.attempt) for run in runs_of(threads)] == [("done", 2)] * len(threads)


def test_wrong_use_is_one_line_with_the_remedy(shell: Shell, monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    for arguments in ([], ["t", "--abandoned"]):
        assert shell("resume", *arguments) == 2
        assert "`acme-agent resume ID`, or all that are abandoned, `--abandoned`" in shell.err
    monkeypatch.setenv("DATABASE_URL", database)
    assert shell("resume", "--abandoned") == 2
    assert "start one with `acme-agent worker`" in shell.err
