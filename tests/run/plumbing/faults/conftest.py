"""What the fault tests share: a PostgreSQL to stop, freeze and restart, and graphs that count what they ran."""

import asyncio
import os
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from operator import add
from pathlib import Path
from threading import Timer
from typing import Annotated, Any, Literal, TypedDict
from uuid import uuid4

import psycopg
import pytest
from acme_agent.persistence import migrate, open_checkpointer
from acme_agent.persistence.postgres_saver import PostgresSaver
from acme_agent.readiness.servers.postgres_programs import unprivileged_account
from acme_agent.readiness.servers.postgres_server import create_database, drop_database, postgres_server
from acme_agent.settings import Settings
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from psycopg.conninfo import conninfo_to_dict

LONGEST_FREEZE = 20.0  # seconds
PASSWORD = "s3cr3t-Pa55w0rd"  # the server trusts its clients, and ignores it

_PLACES = """
SELECT (SELECT setting FROM pg_config() WHERE name = 'BINDIR'), current_setting('data_directory'),
    current_setting('unix_socket_directories')
"""

# Outlives the test process: a frozen server could not be ended with it.
_THAW = 'trap "" HUP INT TERM; read -r _; kill -CONT "$@" 2>/dev/null'


class OwnServer:
    """A PostgreSQL of this process alone, which a test may disturb."""

    def __init__(self, admin_url: str) -> None:
        """Take the URL that `postgres_server` yields."""
        self.admin_url = admin_url
        self.port = str(conninfo_to_dict(admin_url)["port"])
        with self.admin() as admin:
            programs, data, sockets = admin.execute(_PLACES).fetchone() or ("", "", "")
        self._pg_ctl, self.data, self._sockets = f"{programs}/pg_ctl", Path(data), sockets

    def admin(self) -> psycopg.Connection[Any]:
        """Return a superuser's connection, outside of every database that a test uses."""
        return psycopg.connect(self.admin_url, autocommit=True)

    def url(self, name: str) -> str:
        """Return the URL of a database, with a password that must never be seen."""
        return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def restart(self, mode: Literal["fast", "immediate"]) -> None:
        """Return when the server takes connections again; `immediate` is a crash, with a recovery."""
        self._control("restart", "-m", mode, *self._options)

    def stop(self, mode: Literal["fast", "immediate"] = "immediate") -> None:
        """End the server."""
        self._control("stop", "-m", mode)

    def start(self) -> None:
        """Return when the server takes connections."""
        self._control("start", *self._options)

    def promote(self) -> None:
        """Make a standby the primary."""
        self._control("promote")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all processes of the server with SIGSTOP: the kernel accepts connections, and nobody answers."""
        postmaster = int((self.data / "postmaster.pid").read_text("utf-8").split()[0])
        with self.admin() as admin:
            os.kill(postmaster, signal.SIGSTOP)  # first, so that it makes no further ones
            stopped = [postmaster, *(pid for (pid,) in admin.execute("SELECT pid FROM pg_stat_activity"))]
            command = ["/bin/sh", "-c", _THAW, "thaw", *map(str, stopped)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as thaw:
                assert thaw.stdin
                for pid in stopped[1:]:
                    os.kill(pid, signal.SIGSTOP)
                # A client that waits for ever is to fail its test, and not to hang it.
                limit = Timer(LONGEST_FREEZE, thaw.stdin.close)
                limit.start()
                try:
                    yield
                finally:
                    limit.cancel()
                    thaw.stdin.close()

    @property
    def _options(self) -> tuple[str, ...]:
        options = f"-h 127.0.0.1 -p {self.port} -k {self._sockets} -F -c full_page_writes=off"
        return "-l", str(self.data.with_name("log")), "-o", options

    def _control(self, *order: str) -> None:
        subprocess.run(
            [self._pg_ctl, "-D", str(self.data), "-s", "-w", *order],
            cwd="/",  # the account may not enter the tests' folder
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            check=True,
            start_new_session=True,  # Ctrl-C is for the tests, which then stop the server
            **unprivileged_account()._asdict(),
        )


@pytest.fixture(scope="session")
def own_server() -> Iterator[OwnServer]:
    """Start a server that is no one else's, whatever $TEST_DATABASE_URL says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TEST_DATABASE_URL", raising=False)
        with postgres_server() as admin_url:
            create_database(admin_url, "migrated")
            server = OwnServer(admin_url)
            asyncio.run(migrate(server.url("migrated"), settings=Settings(_env_file=None)))
            yield server


@pytest.fixture
def own_database(own_server: OwnServer) -> Iterator[str]:
    """Make a migrated database on a server that may be disturbed; its URL has a password."""
    name = f"test_{uuid4().hex[:12]}"
    create_database(own_server.admin_url, name, "migrated")
    yield own_server.url(name)
    drop_database(own_server.admin_url, name)


class Disk:
    """A file system with little space."""

    def __init__(self, place: Path) -> None:
        """Take the folder where it is mounted."""
        self.place = place
        self._filler = place / "filler"

    def fill(self) -> None:
        """Leave no space."""
        with suppress(OSError), self._filler.open("ab", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))

    def free(self) -> None:
        """Take back what `fill` took."""
        self._filler.unlink(missing_ok=True)


@pytest.fixture
def small_disk(own_server: OwnServer) -> Iterator[tuple[str, Disk]]:
    """Make a migrated database on a file system of its own, of 32 MB."""
    account = unprivileged_account()
    place = own_server.data.with_name(f"disk-{uuid4().hex[:12]}")
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size=32m,mode=0700,uid={account.user},gid={account.group}", "tmpfs"]
    if os.geteuid() != 0 or subprocess.run([*mount, str(place)], capture_output=True, check=False).returncode:
        place.rmdir()
        pytest.skip("NOT TESTED: a full disk, which needs root and its right to mount a small file system")
    name = f"test_{uuid4().hex[:12]}"
    folder = place / "tablespace"
    folder.mkdir(mode=0o700)
    os.chown(folder, account.user or 0, account.group or 0)
    try:
        with own_server.admin() as admin:
            admin.execute(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
            admin.execute(f"CREATE DATABASE {name} TEMPLATE migrated TABLESPACE {name}")
        disk = Disk(place)
        yield own_server.url(name), disk
        disk.free()  # a server that cannot write cannot drop either
        drop_database(own_server.admin_url, name)
        with own_server.admin() as admin:
            admin.execute(f"DROP TABLESPACE {name}")
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        place.rmdir()


class Steps(TypedDict):
    """A state that names the nodes which made it."""

    steps: Annotated[list[str], add]


Happening = Callable[[str, str], Awaitable[None]]


async def nothing(_thread: str, _node: str) -> None:
    """Let the run go on."""


@dataclass
class Chain:
    """Nodes one after the other; `ran` counts how often each was executed for each thread."""

    saver: BaseCheckpointSaver[str]
    nodes: list[str]
    happening: Happening = nothing  # inside a node, before it returns
    text: str = ""  # what each node adds to its name
    ran: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def run(self, thread: str, payload: Steps | None) -> Steps:
        """Run the thread to its end, from a new input or, with None, from where it stopped."""
        config: Any = {"configurable": {"thread_id": thread}}
        return await self.graph.ainvoke(payload, config, durability="sync")  # type: ignore[no-any-return] # it is Steps

    @property
    def graph(self) -> Any:
        """The compiled graph (Any: LangGraph's generic of four types)."""
        builder = StateGraph(Steps)
        for name in self.nodes:
            builder.add_node(name, self._node(name))
        for before, after in zip([START, *self.nodes], self.nodes, strict=False):
            builder.add_edge(before, after)
        return builder.compile(checkpointer=self.saver)

    def repeated(self) -> dict[tuple[str, str], int]:
        """Return the executions that happened more than once."""
        return {key: count for key, count in self.ran.items() if count > 1}

    def _node(self, name: str) -> Any:
        async def node(_state: Steps, config: RunnableConfig) -> Steps:
            thread = config["configurable"]["thread_id"]
            self.ran[thread, name] += 1
            await self.happening(thread, name)
            return {"steps": [name + self.text]}

        return node


@pytest.fixture
def make_chain() -> Callable[..., Chain]:
    """Return the function that makes a chain of eight nodes, or of as many as it is told."""

    def make(saver: BaseCheckpointSaver[str], happening: Happening = nothing, text: str = "", size: int = 8) -> Chain:
        return Chain(saver, [f"n{number}" for number in range(1, size + 1)], happening, text)

    return make


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[PostgresSaver]:
    """Yield a saver as an app has it, but for what `settings` say."""
    values = {"database_pool_max": 4, **settings}
    async with open_checkpointer(url, settings=Settings(_env_file=None, **values)) as saver:
        assert isinstance(saver, PostgresSaver)
        yield saver
