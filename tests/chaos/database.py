"""The databases: each is made, and taken away for a while, in its own manner."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, Protocol

import psycopg
from acme_agent.readiness.servers.lifeline import Server
from acme_agent.readiness.servers.postgres_programs import unprivileged_account
from acme_agent.readiness.servers.postgres_server import create_database, postgres_server

BACKENDS = ("postgres", "valkey", "dynamodb", "sqlite")
AWAY, PATIENCE = 4.0, "1"  # seconds: calls fail meanwhile

_SERVER = """
SELECT
    (SELECT setting FROM pg_config() WHERE name = 'BINDIR'),
    current_setting('data_directory'),
    current_setting('port'),
    current_setting('unix_socket_directories')
"""
_LISTENERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"


class Database(Protocol):
    """A database that may go away."""

    url: str
    kinds: tuple[str, ...]  # of what can happen to it

    def restart(self, mode: Literal["fast", "immediate"]) -> None:
        """Return when it is back."""

    def cut_listeners(self) -> None:
        """End the connections over which notices come."""


@contextmanager
def database(backend: str) -> Iterator[Database]:
    """Yield an empty one."""
    if backend == "postgres":
        with postgres_server() as admin_url:
            yield Postgres(admin_url)
    elif backend == "valkey":
        from acme_agent.readiness.servers.valkey_server import held_server

        with held_server() as (url, server):
            yield Stoppable(url, server)
    elif backend == "dynamodb":
        from acme_agent.readiness.servers import dynamodb_server
        from acme_agent.readiness.servers.dynamodb_fixtures import url_at

        os.environ.update(dynamodb_server.ENVIRONMENT)  # credentials that are none, for the workers as well
        os.environ["DATABASE_TIMEOUT"] = PATIENCE
        with dynamodb_server.held_server() as (endpoint, server):
            yield Stoppable(url_at(endpoint), server, AWAY)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield File(Path(folder))


class Postgres:
    """A server that restarts."""

    kinds: tuple[str, ...] = ("restart", "crash", "lost notices", "lost notices")

    def __init__(self, admin_url: str) -> None:
        self.url = create_database(admin_url, "chaos")
        self._admin_url = admin_url
        with psycopg.connect(admin_url) as connection:
            found = connection.execute(_SERVER).fetchone()
        assert found
        self._programs, self._data, self._port, self._sockets = map(str, found)

    def restart(self, mode: Literal["fast", "immediate"]) -> None:
        """Return when it takes connections again."""
        options = f"-h 127.0.0.1 -p {self._port} -k {self._sockets} -F -c full_page_writes=off"
        subprocess.run(
            [
                *(f"{self._programs}/pg_ctl", "-D", self._data, "-s", "-w", "-m", mode),
                *("-l", f"{self._data}/../log", "-o", options, "restart"),
            ],
            cwd="/",
            stdin=subprocess.DEVNULL,
            check=True,
            start_new_session=True,
            **unprivileged_account()._asdict(),
        )

    def cut_listeners(self) -> None:
        """End the connections over which notices come."""
        with suppress(psycopg.Error), psycopg.connect(self._admin_url, autocommit=True) as connection:
            connection.execute(_LISTENERS)


class Stoppable:
    """A server that goes away: Valkey is killed and started again; moto, which keeps nothing, is frozen."""

    kinds: tuple[str, ...] = ("crash", "crash")

    def __init__(self, url: str, server: Server, away: float = 0.0) -> None:
        self.url = url
        self._server = server
        self._away = away  # seconds

    def restart(self, mode: Literal["fast", "immediate"]) -> None:
        """Return when it answers again: Valkey with what its append-only file has, moto what was asked meanwhile."""
        del mode
        self._server.order("away")
        time.sleep(self._away)
        self._server.order("back")

    def cut_listeners(self) -> None:
        """Do nothing: nobody listens."""


class File:
    """A SQLite file."""

    kinds: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/threads.db"

    def restart(self, mode: Literal["fast", "immediate"]) -> None:
        """Do nothing: there is no server."""

    def cut_listeners(self) -> None:
        """Do nothing: nobody listens."""
