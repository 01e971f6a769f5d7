"""A PostgreSQL that cannot be used says so, quickly and without its password; one that can is used with care."""

import asyncio
import os
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from acme_agent.persistence import (
    BadDatabaseUrl,
    DatabaseUnreachable,
    SchemaDamaged,
    SchemaMissing,
    list_threads,
    open_checkpointer,
)
from acme_agent.readiness.servers.postgres_server import drop_database
from acme_agent.settings import Settings
from langgraph.checkpoint.base import empty_checkpoint
from psycopg.conninfo import conninfo_to_dict

pytestmark = pytest.mark.anyio

PASSWORD = "s3cr3t-Pa55w0rd"
LONGEST_WAIT = 10.0  # seconds that a person waits for the news that the database is away


def thread(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


def changed(url: str, **changes: str) -> str:
    """Return the URL with other parts, and with a password: a server that trusts its clients ignores it."""
    part = {"user": "postgres", "password": PASSWORD, "port": "5432", **conninfo_to_dict(url), **changes}
    return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**part)


@pytest.fixture
def locked_out(admin_url: str) -> Iterator[str]:
    """Return the URL of a role whose password is another one."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        hba = Path(str(admin.execute("SHOW hba_file").fetchone()[0]))  # type: ignore[index] # SHOW has a row
        if not os.access(hba, os.W_OK):
            pytest.skip("the rules of $TEST_DATABASE_URL's server cannot be changed from here")
        rules = hba.read_text()
        admin.execute("CREATE ROLE locked_out LOGIN PASSWORD 'another'")
        hba.write_text(f"host all locked_out all scram-sha-256\n{rules}")
        admin.execute("SELECT pg_reload_conf()")
        url = changed(admin_url, user="locked_out", password=PASSWORD)
        deadline = time.monotonic() + LONGEST_WAIT
        while accepts(url) and time.monotonic() < deadline:
            time.sleep(0.01)
        yield url
        hba.write_text(rules)
        admin.execute("SELECT pg_reload_conf()")
        admin.execute("DROP ROLE locked_out")


def accepts(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


async def refusal(url: str, settings: Settings, caplog: pytest.LogCaptureFixture) -> str:
    """Open the URL, expecting that it cannot be used; return the message after a look for the password everywhere."""
    caplog.set_level("DEBUG")
    started = time.monotonic()
    with pytest.raises((DatabaseUnreachable, BadDatabaseUrl)) as caught:
        async with asyncio.timeout(LONGEST_WAIT), open_checkpointer(url, settings=settings):
            pass
    assert time.monotonic() - started < LONGEST_WAIT
    assert "\n" not in str(caught.value)
    assert PASSWORD not in repr(caught.value) + "".join(traceback.format_exception(caught.value)) + caplog.text
    return str(caught.value)


@asynccontextmanager
async def relay(url: str, last: bytes) -> AsyncIterator[str]:
    """Yield the URL of a server that answers as the one behind `url` until it has said `last`, then nothing any more.

    With an empty `last` it accepts connections and never says a word.
    """
    real = conninfo_to_dict(url)
    writers: list[asyncio.StreamWriter] = []

    async def forward(source: asyncio.StreamReader, target: asyncio.StreamWriter, end: bytes) -> None:
        while data := await source.read(65536):
            target.write(data)
            if end and end in data:
                return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if last:
            server_reader, server_writer = await asyncio.open_connection(
                str(real["host"]), int(real.get("port") or 5432)
            )
            writers.append(server_writer)
            await asyncio.gather(forward(reader, server_writer, b""), forward(server_reader, writer, last))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    try:
        yield changed(url, host=address[0], port=str(address[1]))
    finally:
        server.close()
        for writer in writers:
            writer.close()


READY_FOR_QUERY = b"Z\x00\x00\x00\x05I"  # the server's last message of a log-in


async def test_a_wrong_password_is_said_and_not_shown(
    locked_out: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert "password authentication failed" in await refusal(locked_out, settings, caplog)


async def test_a_server_that_refuses_is_named(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    message = await refusal(f"postgresql://u:{PASSWORD}@127.0.0.1:1/db", settings, caplog)
    assert "onnection refused" in message
    assert "postgresql://u@127.0.0.1:1/db" in message


async def test_a_database_that_does_not_exist_is_named(
    admin_url: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    message = await refusal(changed(admin_url, dbname="nowhere"), settings, caplog)
    assert 'database "nowhere" does not exist' in message


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", f"{'a' * 64}.example"])
async def test_a_host_that_does_not_exist_is_named(
    host: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert host in await refusal(f"postgresql://u:{PASSWORD}@{host}/db", settings, caplog)


@pytest.mark.parametrize("last", [b"", READY_FOR_QUERY], ids=["from the start", "after the log-in"])
async def test_a_server_that_falls_silent_is_given_up(
    last: bytes, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    wait = Settings(_env_file=None).database_timeout
    assert wait <= LONGEST_WAIT - 1
    impatient = Settings(_env_file=None, database_timeout=1.0)
    async with relay(changed(database), last) as url:
        server = url.rpartition("@")[2].partition("/")[0]
        addresses = url.replace(server, f"{server},{server},{server}")  # all of them together get that time, not each
        started = time.monotonic()
        await refusal(url if last else addresses, impatient, caplog)
    assert time.monotonic() - started < impatient.database_timeout + LONGEST_WAIT - wait


@pytest.mark.parametrize("query", ["pgbouncer=true", "sslmode=maybe", "port=x", "connect_timeout=soon", "x=%00"])
async def test_a_parameter_that_libpq_does_not_know_is_refused(
    query: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await refusal(f"postgresql://u:{PASSWORD}@127.0.0.1:1/db?{query}", settings, caplog)


async def test_an_unknown_parameter_is_named(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    assert "'pgbouncer'" in await refusal(f"postgresql://u:{PASSWORD}@h/db?pgbouncer=true", settings, caplog)


async def test_missing_tables_ask_for_the_migration_and_are_not_made(empty_database: str, settings: Settings) -> None:
    with pytest.raises(SchemaMissing, match=r"no checkpoint tables\. Type: acme-agent migrate$"):
        async with open_checkpointer(empty_database, settings=settings):
            pass
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("DELETE FROM checkpoint_migrations WHERE v > 3", SchemaMissing),
        ("DELETE FROM checkpoint_migrations", SchemaMissing),
        ("DROP TABLE checkpoint_writes", SchemaDamaged),
    ],
)
async def test_tables_that_the_library_cannot_use_stop_the_start(
    change: str, error: type[Exception], database: str, settings: Settings
) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(change.encode())
    with pytest.raises(error, match="acme-agent migrate"):
        async with open_checkpointer(database, settings=settings):
            pass


async def test_urls_of_other_programs_and_sockets_open(database: str, settings: Settings) -> None:
    with psycopg.connect(database) as connection:
        info = connection.info
        folder = connection.execute("SHOW unix_socket_directories").fetchone()[0]  # type: ignore[index] # SHOW has a row
        socket = f"postgresql:///{info.dbname}?host={folder}&port={info.port}&user={info.user}"
    for url in (database.replace("postgresql://", "postgres+asyncpg://"), socket):
        async with open_checkpointer(url, settings=settings) as saver:
            assert await list_threads(saver) == []


OTHER_SESSIONS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


async def test_a_connection_that_the_server_dropped_costs_no_run(database: str, settings: Settings) -> None:
    async with open_checkpointer(database, settings=settings) as saver:
        await saver.aput(thread("t"), empty_checkpoint(), {}, {})
        with psycopg.connect(database, autocommit=True) as other:
            assert other.execute(f"SELECT pg_terminate_backend(pid) {OTHER_SESSIONS}").fetchall()
        assert await list_threads(saver) == ["t"]


async def test_the_pool_has_the_program_s_name_and_bounds_and_ends_with_the_context(
    database: str, settings: Settings
) -> None:
    small = settings.model_copy(update={"database_pool_max": 2})

    async def nap(saver: Any) -> None:
        async with saver.conn.connection() as connection:  # the saver's pool
            await connection.execute("SELECT pg_sleep(0.05)")

    with psycopg.connect(database, autocommit=True) as other:
        async with open_checkpointer(database, settings=small) as saver:
            await asyncio.gather(*(nap(saver) for _ in range(6)))
            names = other.execute(f"SELECT application_name {OTHER_SESSIONS}").fetchall()
            assert names == [("acme-agent",)] * 2
        deadline = time.monotonic() + LONGEST_WAIT
        while other.execute(f"SELECT pid {OTHER_SESSIONS}").fetchall():  # the server ends them a moment later
            assert time.monotonic() < deadline


async def test_statements_are_prepared_where_no_pooler_stands_between(database: str, settings: Settings) -> None:
    """Through one none is: see test_pgbouncer.py."""
    single = settings.model_copy(update={"database_pool_max": 1})
    async with open_checkpointer(database, settings=single) as saver:
        for _ in range(10):
            await saver.aput(thread("t"), empty_checkpoint(), {}, {})
            await saver.aget_tuple(thread("t"))
        async with saver.conn.connection() as connection:  # type: ignore[attr-defined] # the saver's pool
            row = await (await connection.execute("SELECT count(*) AS n FROM pg_prepared_statements")).fetchone()
            assert row["n"] >= 2


async def test_an_outage_is_logged_without_the_password(
    database: str, admin_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    impatient = Settings(_env_file=None, database_timeout=1.0, database_patience=1.0)
    async with open_checkpointer(changed(database), settings=impatient) as saver:
        drop_database(admin_url, str(conninfo_to_dict(database)["dbname"]))
        with pytest.raises(DatabaseUnreachable) as caught:
            await list_threads(saver)
    assert "error connecting in" in caplog.text
    assert PASSWORD not in caplog.text + "".join(traceback.format_exception(caught.value))
