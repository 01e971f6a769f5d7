"""A real PostgreSQL for tests, without Docker: `with postgres_server() as admin_url`.

A shell holds the server: it stops it and deletes its folder when its standard input ends, and the kernel ends that when
the test process dies, of SIGKILL too. Not covered: SIGKILL to that shell; and a process forked from the test process
holds the input as well, and so keeps the server for as long as it lives.
"""

import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg
from psycopg import sql

from ..persistence.urls import normalise
from .postgres_programs import PostgresMissing, find_programs, reachable, unprivileged_account

_ROOMS = "/tmp"  # mkdtemp makes it safe; a socket's path has at most 107 bytes, and any user may enter here
_ATTEMPTS = 3  # another process may take the free port before the server does
_STOP_TIMEOUT = 30.0  # seconds

# $1: the programs' folder, $2: the port. Signals are ignored, so that the last two lines always run.
_LIFE = """
trap '' HUP INT PIPE TERM
if { "$1/initdb" -D data -U postgres -A trust -E UTF8 --no-locale --no-sync &&
     "$1/pg_ctl" -D data -s -w -l log -o "-h 127.0.0.1 -p $2 -k $PWD -F -c full_page_writes=off" start; } >out 2>&1
then echo ready; read -r _; else cat out log >&2; fi
"$1/pg_ctl" -D data -s -w -m immediate stop >out 2>&1
rm -rf "$PWD"
"""


@contextmanager
def postgres_server() -> Iterator[str]:
    """Yield the URL of a superuser: on $TEST_DATABASE_URL's server, else on one that lives as long as the context."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield normalise(given)
        return
    programs = find_programs()
    for _ in range(_ATTEMPTS):
        port = _free_port()
        shell = _start(programs, port)
        if shell.stdout and shell.stdout.readline():
            break
        log = " ".join(shell.communicate()[1].split())
    else:
        raise PostgresMissing(f"the one in {programs} does not start ({log[-500:]})")
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        shell.communicate("stop\n", timeout=_STOP_TIMEOUT)


def create_database(admin_url: str, name: str | None = None, template: str | None = None) -> str:
    """Create a database, empty or as a copy of `template`, to which nobody may be connected. Return its URL."""
    name = name or f"test_{uuid4().hex[:12]}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template or "template1")))
    return re.sub(r"^(\w+://[^/?]*)(/[^?]*)?", rf"\g<1>/{quote(name, safe='')}", admin_url)


def drop_database(admin_url: str, name: str) -> None:
    """Drop the database if it is there, whoever is connected to it."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _start(programs: Path, port: int) -> "subprocess.Popen[str]":
    account = unprivileged_account()
    room = Path(tempfile.mkdtemp(prefix="pg-", dir=_ROOMS))
    programs = reachable(programs, account, room)
    if account.user is not None and account.group is not None:
        for path in (room, *room.rglob("*")):  # the account has to delete it all in the end
            os.chown(path, account.user, account.group, follow_symlinks=False)
    return subprocess.Popen(
        ["/bin/sh", "-c", _LIFE, "postgres-server", str(programs), str(port)],
        cwd=room,
        env={name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C reaches the tests and not the server that they are about to use
        user=account.user,
        group=account.group,
        extra_groups=account.extra_groups,
    )
