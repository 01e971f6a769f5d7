"""A copy that was cut off, and what people and other processes do with it before it is begun again."""

from __future__ import annotations  # Shell has a name for mypy only

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from acme_agent.agent import AgentSettings, new_input
from acme_agent.persistence import Fence, drop_reservation, fenced
from acme_agent.persistence.items import Span, keys, pages
from acme_agent.runs import Runs, copy_threads, copying, open_runs
from acme_agent.runs.holder import machine
from acme_agent.runs.reservation import reserve
from langgraph.checkpoint.base import empty_checkpoint
from pydantic import SecretStr

if TYPE_CHECKING:
    from plumbing.conftest import Shell  # tests are not a package: nothing can be imported from there

T = TypeVar("T")

QUESTION = "How many books may a member borrow?"
OLD, NEW = "sqlite:///.data/threads.db", "sqlite:///new.db"
CUT_OFF = "a copy of thread t was cut off, and is deleted: type copy-threads again"


@pytest.fixture
def filled(shell: Shell) -> Shell:
    """A shell with a thread to copy."""
    assert shell("run", QUESTION, "--thread-id", "t") == 0
    return shell


def in_runs(url: str, act: Callable[[Runs], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with open_runs(AgentSettings(database_url=SecretStr(url))) as runs:
            return await act(runs)

    return asyncio.run(opened())


async def half_a_copy(runs: Runs) -> None:
    """Leave what a killed copy leaves: a reservation, and a part of the thread."""
    dead = await asyncio.create_subprocess_exec("true")
    await dead.wait()
    run = await runs.ledger.begin("copy-x", "t", {"$reserved": "copy"}, holder=f"{machine()}/{dead.pid}/x")
    assert run
    with fenced(Fence(run.run_id, run.attempt)):
        place: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        await runs.checkpointer.aput(place, empty_checkpoint(), {"source": "input", "step": -1}, {})


@pytest.mark.parametrize(
    ("typed", "code"),
    [((), 0), (("resume", "t"), 2), (("resume", "--abandoned"), 1), (("cancel", "t"), 0)],
    ids=["nothing", "resume", "resume all", "cancel"],
)
def test_it_is_begun_again_whatever_was_done_with_it(
    filled: Shell, monkeypatch: pytest.MonkeyPatch, typed: tuple[str, ...], code: int
) -> None:
    in_runs(NEW, half_a_copy)
    monkeypatch.setenv("DATABASE_URL", NEW)
    assert filled("doctor") == 1
    assert "1 (threads t): the copy of these threads from another database was cut off" in filled.out
    if typed:
        assert filled(*typed) == code
    if typed[:1] == ("resume",):
        assert CUT_OFF in filled.err
        assert in_runs(NEW, lambda runs: runs.checkpointer.aget_tuple({"configurable": {"thread_id": "t"}})) is None
    assert filled("copy-threads", OLD, NEW) == 0
    assert "threads: 1 copied" in filled.err
    assert filled("copy-threads", OLD, NEW) == 0
    assert "threads: 1 there" in filled.err
    assert filled("show", "t") == 0
    assert len(in_runs(NEW, lambda runs: runs.ledger.newest("t", 10))) == 1


def test_what_is_left_of_a_copy_is_another_ones_once_that_has_begun(
    filled: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no other thread of the same id: nobody has to look into it."""
    in_runs(NEW, half_a_copy)
    in_runs(NEW, lambda runs: runs.cancel("t"))

    async def taken(ledger: Any, thread: Any, purpose: str) -> Any:
        return None if thread == "t" else await reserve(ledger, thread, purpose)

    monkeypatch.setattr(copying, "reserve", taken)
    assert filled("copy-threads", OLD, NEW) == 1
    assert filled.out == "at work: t: another process copies it\n"


async def test_who_is_stopped_while_a_thread_is_reserved_leaves_no_reservation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that was sent goes on without its caller."""
    old, new = [
        AgentSettings(_env_file=None, database_url=SecretStr(f"sqlite:///{tmp_path}/{name}.db"), data_dir=tmp_path)
        for name in ("old", "new")
    ]
    async with open_runs(old) as runs:
        await runs.ledger.accept("r", "t", new_input(QUESTION), mode="enqueue")
    made, stopped = asyncio.Event(), asyncio.Event()

    async def slow(ledger: Any, thread: Any, purpose: str) -> Any:
        found = await reserve(ledger, thread, purpose)
        if thread == "t":
            made.set()
            await stopped.wait()
        return found

    monkeypatch.setattr(copying, "reserve", slow)
    copy = asyncio.create_task(copy_threads(old, new, lambda _: None))
    await made.wait()
    copy.cancel()
    await asyncio.wait([copy], timeout=0.1)  # long enough for one that does not wait for its call
    stopped.set()
    with pytest.raises(asyncio.CancelledError):
        await copy
    async with open_runs(new) as runs:
        assert await runs.ledger.newest("t", 10) == []


def test_a_reservation_that_goes_while_it_is_looked_at_is_none(filled: Shell) -> None:
    """The other copy of two at once has come to its end."""

    async def look(runs: Runs) -> object:
        await half_a_copy(runs)
        (run,) = await runs.ledger.line("t")
        await drop_reservation(runs.ledger, run)
        return await runs.ledger.payload(run)

    assert in_runs(NEW, look) is None
    assert filled("copy-threads", OLD, NEW) == 1  # what no reservation protects is not deleted


def test_two_copies_at_once_do_not_disturb_each_other(shell: Shell, database: str, tmp_path: Path) -> None:
    for number in range(5):
        assert shell("run", QUESTION, "--thread-id", f"t{number}") == 0
    command = [sys.executable, "-c", "from acme_agent.cli import main; main()", "copy-threads", OLD, database]
    both = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert not any("ExceptionGroup" in text or "Traceback" in text for text in said), said
    assert {process.returncode for process in both} <= {0, 1}, said
    assert shell("copy-threads", OLD, database) == 0
    assert "threads: 5 there" in shell.err


def test_one_database_is_known_by_another_name(filled: Shell, tmp_path: Path, valkey_server_url: str) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / ".data" / "threads.db")
    server = valkey_server_url.removesuffix("/0")
    prefix = f"?prefix={tmp_path.name[-30:]}"
    assert filled("copy-threads", OLD, f"{server}{prefix}") == 0
    for one, other in ((OLD, "sqlite:///link.db"), (f"{server}{prefix}", f"{server}/0{prefix}")):
        assert filled("copy-threads", one, other) == 2
        assert "both URLs name" in filled.err
    assert in_runs(OLD, lambda runs: runs.ledger.counts()) == {"done": 1}


def test_a_source_without_threads_is_no_success(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "outbox.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE letters (text)")
        connection.commit()
    before = file.read_bytes()
    assert shell("copy-threads", "sqlite:///outbox.db", NEW) == 2
    assert "sqlite:///outbox.db has no threads to copy: is it the right one?" in shell.err
    assert file.read_bytes() == before
    in_runs("sqlite:///empty.db", lambda runs: runs.ledger.counts())
    assert shell("copy-threads", "sqlite:///empty.db", NEW) == 2
    assert "sqlite:///empty.db has no threads to copy" in shell.err
    (tmp_path / "text.db").write_text("no database")
    assert shell("copy-threads", "sqlite:///text.db", NEW) == 2
    assert "cannot be read" in shell.err


async def test_a_page_of_two_moments_is_read_again() -> None:
    """Its runs were read before, and those that are over after, another run had got the place of one that went."""
    active, over = (keys.run(1, name, active=active) for name, active in (("copy-x", True), ("r", False)))
    looks = [[[(active, b"")], [(over, b"")], []], [[], [(over, b"")], []]]

    class Items:
        async def read(self, *_: Span) -> list[Any]:
            return looks.pop(0)

    items: Any = Items()
    (page,) = await pages.load(items, ["t"])
    assert list(page.runs) == ["r"]
    assert looks == []
