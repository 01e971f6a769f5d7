"""A database that is restarted under the workers, and one that is reached through PgBouncer."""

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from acme_agent.persistence import migrate
from acme_agent.readiness.servers.postgres_programs import unprivileged_account
from acme_agent.readiness.servers.postgres_server import create_database, postgres_server
from acme_agent.settings import Settings
from plumbing.worker.crew import Client, Crew, until
from psycopg.conninfo import conninfo_to_dict

PLACES = "SELECT (SELECT setting FROM pg_config() WHERE name = 'BINDIR'), current_setting('data_directory')"


@pytest.fixture
def restart() -> Iterator[tuple[str, Callable[[], None]]]:
    """The URL of a server of the test's own, and a function that crashes it and returns when it is back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TEST_DATABASE_URL", raising=False)
        with postgres_server() as url:
            with psycopg.connect(url) as connection:
                programs, data = connection.execute(PLACES).fetchone() or ("", "")
                sockets = connection.execute("SHOW unix_socket_directories").fetchone() or ("",)
            options = f"-h 127.0.0.1 -p {conninfo_to_dict(url)['port']} -k {sockets[0]} -F"
            command = [f"{programs}/pg_ctl", "-D", data, "-s", "-w", "-m", "immediate", "-l", f"{data}/../log"]

            def again() -> None:
                account = unprivileged_account()._asdict()
                subprocess.run(
                    [*command, "-o", options, "restart"],
                    cwd="/",  # the account may not enter the tests' folder
                    stdin=subprocess.DEVNULL,
                    check=True,
                    start_new_session=True,  # Ctrl-C is for the tests, which then stop the server
                    **account,
                )

            yield url, again


async def test_a_restarted_database_ends_no_run(
    restart: tuple[str, Callable[[], None]],
    settings: Settings,
    open_client: Callable[..., Any],
    crew: Crew,
) -> None:
    """Neither is a worker ended: it waits the outage out, as its runs do."""
    server, again = restart
    url = create_database(server)
    await migrate(url, settings=settings)
    client: Client = await open_client(url)
    worker = crew.start(url).ready()
    slow = {node: {"sleep": 0.3} for node in "abcd"}
    run_ids = [await client.submit(f"t{number}", **slow) for number in range(10)]
    await until(lambda: sum(line["node"] == "b" for line in crew.journal.lines()) >= 10)
    again()
    for run in [*run_ids, await client.submit("later")]:
        await client.until(run, "done")
    began = Counter((line["run"], line["node"]) for line in crew.journal.lines() if line["what"] == "began")
    assert set(began.values()) == {1}
    assert worker.process.poll() is None


async def test_workers_go_through_pgbouncer(
    pgbouncer_url: str, postgres_url: str, open_client: Callable[..., Any], crew: Crew
) -> None:
    """Three server connections for all, and notices past it: a look for jobs would take too long here."""
    client: Client = await open_client(pgbouncer_url, direct=postgres_url)
    for _ in range(2):
        crew.start(pgbouncer_url, DATABASE_DIRECT_URL=postgres_url, constants={"worker.process.POLL": 600.0}).ready()
    run_ids = [await client.submit(f"t{number % 10}", a={"sleep": 0.05}) for number in range(30)]
    for run in run_ids:
        await client.until(run, "done")
    began = Counter((line["run"], line["node"]) for line in crew.journal.lines() if line["what"] == "began")
    assert (len(began), set(began.values())) == (30 * 4, {1})
