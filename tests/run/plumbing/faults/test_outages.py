"""What a run lives through without anybody's help, and what it says when it cannot."""

import asyncio
import re
import secrets
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from acme_agent.agent import AgentSettings
from acme_agent.persistence import DatabaseUnreachable, open_ledger
from acme_agent.runs import Runs
from psycopg.conninfo import conninfo_to_dict

from .conftest import opened

if TYPE_CHECKING:
    from plumbing.faults.conftest import Chain, Disk, OwnServer

pytestmark = pytest.mark.anyio

OUTAGE = 5.0  # seconds
PATIENCE = 1.0  # seconds, of a run that is to give up
SLACK = 1.0  # seconds, for a slow machine
FINISHED = {"steps": [f"n{number}" for number in range(1, 9)]}


async def fast(server: "OwnServer") -> None:
    await asyncio.to_thread(server.restart, "fast")


async def immediate(server: "OwnServer") -> None:
    await asyncio.to_thread(server.restart, "immediate")


async def down(server: "OwnServer") -> None:
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(OUTAGE)
    await asyncio.to_thread(server.start)


async def silent(server: "OwnServer") -> None:
    with server.frozen():
        await asyncio.sleep(OUTAGE)


@pytest.mark.parametrize(
    ("outage", "runs"),
    [(fast, 1), (immediate, 1), (fast, 16), (immediate, 16), (down, 16), (silent, 16)],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_runs_live_through_an_outage_and_nothing_runs_twice(
    outage: Any, runs: int, own_server: "OwnServer", own_database: str, make_chain: "Callable[..., Chain]"
) -> None:
    """A node takes 50 ms, so that at any moment some runs are inside a node and others store one."""
    begun = asyncio.Event()
    over = asyncio.Event()

    async def happening(_thread: str, node: str) -> None:
        if node == "n2":
            begun.set()
        if node == "n8":
            await over.wait()
        await asyncio.sleep(0.05)

    async def disturb() -> None:
        await begun.wait()
        await outage(own_server)
        over.set()

    async with opened(own_database) as saver:
        await make_chain(saver).run("read", {"steps": []})
        chain = make_chain(saver, happening)

        async def read() -> int:
            """Look at a finished thread again and again, the outage through."""
            count = 0
            config: Any = {"configurable": {"thread_id": "read"}}
            while not over.is_set():
                head = await saver.aget_tuple(config)
                assert head
                assert head.checkpoint["channel_values"]["steps"] == FINISHED["steps"]
                assert len([snapshot async for snapshot in chain.graph.aget_state_history(config)]) == 10
                await asyncio.sleep(0.01)
                count += 1
            return count

        async with asyncio.TaskGroup() as group:
            group.create_task(disturb())
            reads = group.create_task(read())
            results = [group.create_task(chain.run(f"t{number}", {"steps": []})) for number in range(runs)]
        assert [task.result() for task in results] == [FINISHED] * runs
        assert chain.repeated() == {}
        assert reads.result() > 0
        assert outage is silent or saver.figures.retries > 0, "the outage was not noticed: the test is wrong"
        assert await make_chain(saver).run("t0", None) == FINISHED  # stored, and nothing is left to do


class Line:
    """A network between a client and the server. `cut` breaks it: what is open ends, what is opened finds no one."""

    def __init__(self, url: str) -> None:
        self._part = {name: str(value) for name, value in conninfo_to_dict(url).items()}
        self._open: list[asyncio.StreamWriter] = []
        self._cut = False
        self.url = ""

    @asynccontextmanager
    async def laid(self) -> AsyncIterator["Line"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = "postgresql://{user}:{password}@127.0.0.1:{port}/{dbname}".format(**{**self._part, "port": port})
        try:
            yield self
        finally:
            server.close()
            self._end()

    def cut(self) -> None:
        self._cut = True
        self._end()

    def mend(self) -> None:
        self._cut = False
        self._end()

    def _end(self) -> None:
        for writer in self._open:
            writer.close()
        self._open.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        if self._cut:
            await reader.read()  # and never answer
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(self._part["port"]))
        self._open.append(far_writer)
        await asyncio.gather(_forward(reader, far_writer), _forward(far_reader, writer), return_exceptions=True)


CAUSES = {"stopped": "onnection refused", "frozen": "no answer|timeout", "cut off": "closed the connection"}


async def _forward(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
    target.close()


@pytest.mark.parametrize("outage", ["stopped", "frozen", "cut off"])
async def test_a_longer_outage_fails_the_run_where_it_is_and_resume_goes_on_from_there(
    outage: str,
    own_server: "OwnServer",
    own_database: str,
    make_chain: "Callable[..., Chain]",
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A call lasts between the patience and twice that, however the server is away, and no text shows the password."""
    caplog.set_level("DEBUG")
    repair = AsyncExitStack()
    lost_at = 0.0
    begun, lost = asyncio.Event(), asyncio.Event()

    async def happening(thread: str, node: str) -> None:
        nonlocal lost_at
        if (thread, node) == ("b", "n2"):
            begun.set()
            await lost.wait()  # else it may be over by the time at which a server is stopped
        if (thread, node) != ("a", "n3") or lost_at:
            return
        await begun.wait()
        lost_at = time.monotonic()
        if outage == "stopped":
            await asyncio.to_thread(own_server.stop)
            repair.callback(own_server.start)
        elif outage == "frozen":
            repair.enter_context(own_server.frozen())
        else:
            line.cut()
            repair.callback(line.mend)
        lost.set()

    async with Line(own_database).laid() as line, AsyncExitStack() as stack:
        url = line.url if outage == "cut off" else own_database
        saver = await stack.enter_async_context(opened(url, database_patience=PATIENCE))
        chain = make_chain(saver, happening)
        async with repair:
            results = await asyncio.gather(
                *(chain.run(name, {"steps": []}) for name in ("a", "b")), return_exceptions=True
            )
            assert PATIENCE - 0.2 < time.monotonic() - lost_at < 2 * PATIENCE + SLACK
            with pytest.raises(DatabaseUnreachable):  # a read says so as well
                await saver.aget_tuple({"configurable": {"thread_id": "a"}})
            assert time.monotonic() - lost_at < 4 * PATIENCE + SLACK
        for result in results:
            assert isinstance(result, DatabaseUnreachable)
            assert re.search(CAUSES[outage], str(result)), result
            assert "postgresql://postgres@127.0.0.1" in str(result)
            assert "s3cr3t" not in "".join(traceback.format_exception(result)) + caplog.text
        assert ("a", "n4") not in chain.ran, "the run went on without its state"
        before = chain.ran.copy()
        assert [await chain.run(name, None) for name in ("a", "b")] == [FINISHED] * 2
        again = {key for key, count in before.items() if chain.ran[key] > count}
        last = {max(key for key in before if key[0] == name) for name in ("a", "b")}
        # Rows that were on their way may have been stored: nobody was left to hear of it.
        assert again <= last, "only the node whose writes were lost runs again"
        assert ("a", "n3") in again or outage == "frozen", "a frozen server finds the rows in its socket, no other does"


async def test_a_run_waits_for_a_standby_that_becomes_the_primary(
    own_server: "OwnServer", own_database: str, make_chain: "Callable[..., Chain]"
) -> None:
    """A standby answers, and refuses every write until it is promoted."""
    async with opened(own_database) as saver:

        async def happening(_thread: str, node: str) -> None:
            if node == "n3":
                await asyncio.to_thread(own_server.stop, "fast")
                (own_server.data / "standby.signal").touch()
                await asyncio.to_thread(own_server.start)
            if node == "n4":
                raise AssertionError("a standby stored the writes of n3")

        refused = make_chain(saver, happening)
        run = asyncio.create_task(refused.run("a", {"steps": []}))
        while saver.figures.retries < 5:  # the fifth comes when the first connections have been exchanged
            await asyncio.sleep(0.01)
            assert not run.done(), run
        refused.happening = make_chain(saver).happening
        await asyncio.to_thread(own_server.promote)
        assert await run == FINISHED
        assert refused.repeated() == {}


async def test_a_read_only_database_fails_the_run_until_it_is_mended(
    own_server: "OwnServer", own_database: str, make_chain: "Callable[..., Chain]"
) -> None:
    """Connections keep what the database said when they were made, so those from then must not be used again."""
    name = own_database.rpartition("/")[2]

    async def happening(_thread: str, node: str) -> None:
        if node == "n3" and not chain.repeated():
            with own_server.admin() as admin:
                admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    async with opened(own_database, database_patience=PATIENCE) as saver:
        chain = make_chain(saver, happening)
        runs = Runs(chain.graph, AgentSettings(_env_file=None), open_ledger(saver))
        with pytest.raises(DatabaseUnreachable, match="read-only transaction"):
            await runs.start({"steps": []}, thread="a")
        assert (await runs.status("a")).condition == "unfinished"
        with own_server.admin() as admin:
            admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        chain.happening = make_chain(saver).happening
        assert (await runs.resume("a")).values == FINISHED
        assert chain.repeated() == {("a", "n3"): 2}


async def test_a_full_disk_fails_the_run_until_there_is_space(
    small_disk: tuple[str, "Disk"], own_database: str, make_chain: "Callable[..., Chain]"
) -> None:
    """The run says what is missing; runs in other databases of the server do not notice."""
    url, disk = small_disk
    began = 0.0

    async def happening(_thread: str, node: str) -> None:
        nonlocal began
        if node == "n3":
            began = time.monotonic()
            disk.fill()

    async with opened(url, database_patience=PATIENCE) as saver, opened(own_database) as elsewhere:
        full = make_chain(saver, happening, text=secrets.token_hex(100_000))  # more than the pages have left
        other = make_chain(elsewhere)
        outcome, unaffected = await asyncio.gather(
            full.run("a", {"steps": []}), other.run("b", {"steps": []}), return_exceptions=True
        )
        assert time.monotonic() - began < 2 * PATIENCE + SLACK
        assert isinstance(outcome, DatabaseUnreachable)
        assert "No space left on device" in str(outcome)
        assert unaffected == FINISHED
        failed = max(full.ran)
        assert failed < ("a", "n8")
        disk.free()
        full.happening = other.happening
        assert len((await full.run("a", None))["steps"]) == 8
        assert full.repeated() == {failed: 2}
