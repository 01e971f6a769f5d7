"""The measured PostgreSQL: the tests' launcher, started again with the settings of production.

The launcher passes `-F` (no fsync) on the command line, which beats `ALTER SYSTEM`; so the server is restarted without.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from acme_agent.readiness.servers.postgres_programs import unprivileged_account
from acme_agent.readiness.servers.postgres_server import postgres_server

DURABLE = ("fsync", "full_page_writes", "synchronous_commit")
"""The settings without which a commit is a promise to a cache."""

_SERVER = """
SELECT
    (SELECT setting FROM pg_config() WHERE name = 'BINDIR') AS programs,
    current_setting('data_directory') AS data,
    current_setting('port') AS port,
    current_setting('unix_socket_directories') AS socket
"""


@contextmanager
def durable_server() -> Iterator[str]:
    """Yield a superuser's URL of a server of this process's own, which writes through to the disk.

    Raises RuntimeError when a setting is not what production has.
    """
    os.environ.pop("TEST_DATABASE_URL", None)  # whoever else uses that server would be in the figures
    with postgres_server() as admin_url:
        _restart(admin_url)
        with psycopg.connect(admin_url) as connection:
            for name in DURABLE:
                (value,) = connection.execute("SELECT current_setting(%s)", (name,)).fetchone() or ("missing",)
                if value != "on":
                    raise RuntimeError(f"the server runs with {name}={value}: its figures would mean nothing")
        yield admin_url


def _restart(admin_url: str) -> None:
    with psycopg.connect(admin_url) as connection:
        programs, data, port, socket = connection.execute(_SERVER).fetchone() or ("", "", "", "")
    done = subprocess.run(
        [
            *(f"{programs}/pg_ctl", "-D", data, "-s", "-w", "-m", "fast", "-l", f"{data}/../log"),
            *("-o", f"-h 127.0.0.1 -p {port} -k {socket}", "restart"),
        ],
        cwd="/",  # the account may not enter the caller's folder
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # Ctrl-C is for the benchmark, which then stops the server
        **unprivileged_account()._asdict(),
    )
    if done.returncode:
        raise RuntimeError(f"the server did not start again: {done.stderr.strip()}")
