"""A real PostgreSQL for tests, without Docker: `with postgres_server() as admin_url`. It ends with the test process."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote
from uuid import uuid4

import psycopg
from psycopg import sql

from ...persistence.urls import normalise
from .lifeline import Server, free_port, new_room
from .postgres_programs import PostgresMissing, find_programs, reachable, unprivileged_account

_ATTEMPTS = 3  # another process may take the free port before the server does

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
    programs, account = find_programs(), unprivileged_account()
    for _ in range(_ATTEMPTS):
        port, room = free_port(), new_room("pg-")
        server = Server(_LIFE, [str(reachable(programs, account, room)), str(port)], room, account)
        log = server.failure()
        if log is None:
            break
    else:
        raise PostgresMissing(f"the one in {programs} does not start ({log})")
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        server.stop()


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
