"""A thread outlives its process, on each backend; and a file that cannot hold threads is named before a run starts."""

import asyncio
import os
import pwd
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

import acme_agent
import aiosqlite
import pytest
from acme_agent.persistence import (
    DatabaseUnreachable,
    ValueRefused,
    list_threads,
    migrate,
    open_checkpointer,
)
from acme_agent.settings import Settings
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde import _msgpack
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from pydantic import BaseModel

pytestmark = pytest.mark.anyio

LONGEST_WAIT = 10.0  # seconds that a person waits for the news that the database is away


class Passage(BaseModel):
    text: str


class State(TypedDict):
    total: int
    found: Any


def graph(saver: BaseCheckpointSaver[str]) -> "CompiledStateGraph[Any, Any, Any, Any]":
    builder = StateGraph(State)
    builder.add_node("first", lambda state: {"total": state["total"] + 1})
    builder.add_node("second", lambda state: {"total": state["total"] + 10})
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    builder.add_edge("second", END)
    return builder.compile(checkpointer=saver, interrupt_before=["second"])


def thread(thread_id: str, namespace: str = "") -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace}}


async def test_a_thread_goes_on_in_another_process(url: str, settings: Settings) -> None:
    async with open_checkpointer(url, settings=settings) as saver:
        await graph(saver).ainvoke({"total": 0, "found": None}, thread("t"), durability="sync")
    async with open_checkpointer(url, settings=settings) as saver:
        assert (await graph(saver).ainvoke(None, thread("t"), durability="sync"))["total"] == 11


async def test_threads_are_listed_newest_first_each_once_without_sub_graphs(url: str, settings: Settings) -> None:
    async with open_checkpointer(url, settings=settings) as saver:
        assert await list_threads(saver) == []
        for thread_id in "abcaa":
            await saver.aput(thread(thread_id), empty_checkpoint(), {}, {})
        await saver.aput(thread("b", "sub:1"), empty_checkpoint(), {}, {})
        await saver.aput(thread("d", "sub:2"), empty_checkpoint(), {}, {})
        assert await list_threads(saver) == ["a", "c", "b"]
        assert await list_threads(saver, limit=2) == ["a", "c"]
        compiled = graph(saver)
        assert isinstance(compiled.checkpointer, BaseCheckpointSaver)
        assert await list_threads(compiled.checkpointer) == ["a", "c", "b"]  # compile() works with a copy of the saver


async def test_threads_are_listed_without_reading_their_history(url: str, settings: Settings) -> None:
    async with open_checkpointer(url, settings=settings) as saver:
        config = await saver.aput(thread("t"), empty_checkpoint(), {}, {})
        await saver.aput_writes(config, [("x", 1)], "task")
        saver.serde = None  # type: ignore[assignment] # whoever reads a checkpoint fails
        assert await list_threads(saver) == ["t"]


async def test_a_list_of_no_threads_is_a_mistake(url: str, settings: Settings) -> None:
    async with open_checkpointer(url, settings=settings) as saver:
        with pytest.raises(ValueError, match="limit"):
            await list_threads(saver, limit=0)
    with pytest.raises(TypeError, match="open_checkpointer"):
        await list_threads(InMemorySaver())


async def test_a_checkpoint_holds_only_objects_of_listed_types(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_msgpack, "STRICT_MSGPACK_ENABLED", False)  # as if LangGraph was imported before this package
    payload = {"total": 0, "found": Passage(text="x")}
    async with open_checkpointer(url, settings=settings) as saver:
        with pytest.raises(ValueRefused, match="checkpoint_types"):
            await graph(saver).ainvoke(payload, thread("refused"), durability="sync")
    async with open_checkpointer(url, settings=settings, types=[Passage]) as saver:
        compiled = graph(saver)
        await compiled.ainvoke(payload, thread("t"), durability="sync")
        assert (await compiled.aget_state(thread("t"))).values["found"] == Passage(text="x")


async def test_a_project_without_the_backend_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    package = Path(acme_agent.__file__).parent
    only_sqlite = shutil.ignore_patterns("postgres*.py", "valkey*.py", "dynamodb*.py", "items", "__pycache__")
    shutil.copytree(package, tmp_path / "sqlite_only", ignore=only_sqlite)
    monkeypatch.syspath_prepend(tmp_path)
    smaller = import_module("sqlite_only.persistence")
    with pytest.raises(smaller.BadDatabaseUrl, match=r"knows memory, sqlite.* copier update -d backend=NAME"):
        await smaller.migrate("postgresql://u@h/db", settings=settings)
    with pytest.raises(smaller.BadDatabaseUrl, match="starts with 'postgresql'"):
        async with smaller.open_checkpointer("postgresql://u@h/db", settings=settings):
            pass
    assert await smaller.migrate(f"sqlite:///{tmp_path}/threads.db", settings=settings) == [
        f"created {tmp_path}/threads.db"
    ]


# --- SQLite ----------------------------------------------------------------------------------------------------------


async def test_a_relative_url_is_a_file_below_the_working_directory(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert await migrate("sqlite:///.data/threads.db", settings=settings) == ["created .data/threads.db"]
    assert (tmp_path / ".data" / "threads.db").is_file()
    assert await migrate("sqlite:///.data/threads.db", settings=settings) == []


def test_a_new_file_that_eight_processes_open_at_once_serves_them_all(
    crew: Callable[..., list[Any]], tmp_path: Path
) -> None:
    names = {f"thread-{number}" for number in range(8)}
    for round_ in range(5):
        file = tmp_path / f"{round_}" / "threads.db"
        assert set(crew("write", f"sqlite:///{file}")) == names
        with closing(sqlite3.connect(file)) as connection:
            assert {row[0] for row in connection.execute("SELECT thread_id FROM checkpoints")} == names
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.fixture
def file_in(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a path where no threads can be kept."""
    file = tmp_path / "threads.db"
    match request.param:
        case "a folder":
            file.mkdir()
        case "a text":
            file.write_text("These are the minutes of a meeting, not a database." * 50)
        case "a file below a file":
            file.touch()
            return file / "threads.db"
    return file


@pytest.mark.parametrize(
    ("file_in", "cause"),
    [("a folder", "folder"), ("a text", "not a database"), ("a file below a file", "Not a directory|File exists")],
    indirect=["file_in"],
)
async def test_a_path_that_holds_no_threads_is_named(file_in: Path, cause: str, settings: Settings) -> None:
    with pytest.raises(DatabaseUnreachable, match=cause) as caught:
        async with open_checkpointer(f"sqlite:///{file_in}", settings=settings):
            pass
    assert str(file_in) in str(caught.value)
    assert "acme-agent doctor" in str(caught.value)


async def test_a_file_that_cannot_be_opened_starts_no_thread_that_may_outlive_the_event_loop(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(**_: Any) -> None:
        pytest.fail("a thread was started")

    monkeypatch.setattr(aiosqlite.core, "Thread", no_thread)
    with pytest.raises(DatabaseUnreachable):
        async with open_checkpointer(f"sqlite:///{tmp_path}", settings=settings):
            pass


@pytest.fixture
def read_only() -> Iterator[Path]:
    """Make a folder with a database and an empty folder, to be written by nobody but root; the inner one is closed."""
    with TemporaryDirectory() as name:
        file = Path(name, "threads.db")
        asyncio.run(migrate(f"sqlite:///{file}", settings=Settings(_env_file=None)))
        inner = file.with_name("closed")
        inner.mkdir(mode=0)
        file.chmod(0o444)
        file.parent.chmod(0o555)
        yield file.parent
        file.parent.chmod(0o755)
        inner.chmod(0o755)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Be nobody instead of root, who may write everywhere, for as long as the context."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["threads.db", "new.db", "new/threads.db", "closed/threads.db"])
async def test_a_read_only_disk_is_noticed_before_a_run_starts(name: str, read_only: Path, settings: Settings) -> None:
    cause = "readonly|unable to open|Permission denied"
    with unprivileged(), pytest.raises(DatabaseUnreachable, match=cause) as caught:
        async with open_checkpointer(f"sqlite:///{read_only / name}", settings=settings):
            pass
    assert str(read_only / name) in str(caught.value)
    assert "acme-agent doctor" in str(caught.value)


async def test_a_new_file_that_is_busy_for_a_moment_is_tried_again(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite refuses the switch to the write-ahead log about once in a thousand such openings, so here it is forced."""
    setup, refusals = AsyncSqliteSaver.setup, [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY]

    async def refuse_twice(saver: AsyncSqliteSaver) -> None:
        if refusals:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = refusals.pop()
            raise error
        await setup(saver)

    monkeypatch.setattr(AsyncSqliteSaver, "setup", refuse_twice)
    async with open_checkpointer(f"sqlite:///{tmp_path}/threads.db", settings=settings) as saver:
        assert await list_threads(saver) == []


async def test_a_file_that_another_process_holds_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "threads.db"
    impatient = Settings(_env_file=None, database_timeout=0.3)
    await migrate(f"sqlite:///{file}", settings=impatient)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(DatabaseUnreachable, match="locked"):
            async with asyncio.timeout(LONGEST_WAIT), open_checkpointer(f"sqlite:///{file}", settings=impatient):
                pass
    assert 0.3 <= time.monotonic() - started < LONGEST_WAIT
