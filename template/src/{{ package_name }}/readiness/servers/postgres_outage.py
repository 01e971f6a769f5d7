"""A PostgreSQL of a check's own, which is stopped and started again."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from ...persistence import migrate
from .postgres_programs import unprivileged_account
from .postgres_server import create_database, postgres_server

_PLACES = """
SELECT (SELECT setting FROM pg_config() WHERE name = 'BINDIR'), current_setting('data_directory'),
    current_setting('unix_socket_directories')
"""


class Stoppable:
    """A server that runs."""

    def __init__(self, admin_url: str) -> None:
        """Take the URL that `postgres_server` yields."""
        with psycopg.connect(admin_url) as connection:
            programs, data, sockets = connection.execute(_PLACES).fetchone() or ("", "", "")
        self._pg_ctl, self._data = f"{programs}/pg_ctl", Path(data)
        options = f"-h 127.0.0.1 -p {conninfo_to_dict(admin_url)['port']} -k {sockets} -F -c full_page_writes=off"
        self._options = ("-l", str(self._data.with_name("log")), "-o", options)

    def begin(self) -> None:
        """Stop it, as a restart does: whoever is connected loses the connection."""
        self._control("stop", "-m", "fast")

    def end(self) -> None:
        """Return when it takes connections again."""
        self._control("start", *self._options)

    def _control(self, *order: str) -> None:
        subprocess.run(
            [self._pg_ctl, "-D", str(self._data), "-s", "-w", *order],
            cwd="/",  # the account may not enter the tests' folder
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            check=True,
            start_new_session=True,  # Ctrl-C is for the tests, which then stop the server
            **unprivileged_account()._asdict(),
        )


@contextmanager
def stoppable() -> Iterator[tuple[str, Stoppable]]:
    """Yield the URL of a migrated database and its server, which is no one else's, whatever $TEST_DATABASE_URL says."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TEST_DATABASE_URL", "DATABASE_DIRECT_URL"):
            patch.delenv(name, raising=False)
        with postgres_server() as admin_url:
            url = create_database(admin_url)
            asyncio.run(migrate(url))
            yield url, Stoppable(admin_url)
