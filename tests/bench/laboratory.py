"""Where a case is measured: one server and one proxy for all, a database and a process of its own for each.

Why a process each: a pool that still drains, a warm cache or a grown heap would favour whoever comes next. It is forked
from a server process that has imported everything and opened nothing. Why a database each: the tables are empty for all
alike. A CHECKPOINT comes before each, so that none pays for the pages of another.
"""

import asyncio
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from acme_agent.persistence import migrate
from acme_agent.readiness.servers.postgres_server import create_database, drop_database
from acme_agent.settings import Settings

from .case import Case, measure_case
from .growth import Growth, measure_growth
from .load import Figures
from .proxy import Proxy, delaying_proxy
from .report import Server
from .savers import WITHOUT_SERVER
from .server import durable_server

DISTANCE = 4.0  # milliseconds that the proxy adds to a round trip

_TEMPLATE = "migrated"
_LOOKS = 100  # statements timed to know the server


class Laboratory:
    """Measures cases, one at a time."""

    def __init__(self, admin_url: str, proxy: Proxy, processes: Executor) -> None:
        self._admin_url = admin_url
        self._proxy = proxy
        self._processes = processes

    def measure(self, case: Case, seconds: float) -> Figures:
        """Return the figures of a case that is kept under load for about `seconds` seconds."""
        if case.variant in WITHOUT_SERVER:
            return self._processes.submit(measure_case, case, "", None, seconds).result()
        proxy = self._proxy if case.latency else None
        with self._database() as url:
            where = self._distant(url) if proxy else url
            return self._processes.submit(measure_case, case, where, proxy, seconds).result()

    def measure_growth(self, variant: str, policy: str, turns: int) -> Growth:
        """Return what a long thread costs."""
        with self._database() as url:
            return self._processes.submit(measure_growth, variant, policy, url, turns).result()

    def server(self) -> Server:
        """Return what the server and the way to it are like."""
        with (
            self._database() as url,
            psycopg.connect(url, autocommit=True) as near,
            psycopg.connect(self._distant(url), autocommit=True) as far,
        ):
            near.execute("CREATE TABLE commits (number int)")
            (version,) = near.execute("SHOW server_version").fetchone() or ("",)
            return Server(
                version=version.split()[0],
                commit=_duration(near, "INSERT INTO commits VALUES (1)"),
                select=_duration(near, "SELECT 1"),
                distant_select=_duration(far, "SELECT 1"),
            )

    @contextmanager
    def _database(self) -> Iterator[str]:
        name = f"bench_{uuid4().hex[:12]}"
        url = create_database(self._admin_url, name, _TEMPLATE)
        with psycopg.connect(self._admin_url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        try:
            yield url
        finally:
            drop_database(self._admin_url, name)

    def _distant(self, url: str) -> str:
        parts = urlsplit(url)
        return parts._replace(netloc=f"{parts.username}@127.0.0.1:{self._proxy.port}").geturl()


@contextmanager
def laboratory() -> Iterator[Laboratory]:
    """Start the server, the proxy and the process that the measuring ones are forked from."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload([measure_case.__module__, measure_growth.__module__])
    with (
        durable_server() as admin_url,
        delaying_proxy(urlsplit(admin_url).port or 0, DISTANCE) as proxy,
        ProcessPoolExecutor(max_workers=1, mp_context=forks, max_tasks_per_child=1) as processes,
    ):
        asyncio.run(migrate(create_database(admin_url, _TEMPLATE), settings=Settings(_env_file=None)))
        yield Laboratory(admin_url, proxy, processes)


def _duration(connection: "psycopg.Connection[tuple[object, ...]]", statement: str) -> float:
    """Return the median time of a statement in milliseconds."""
    times = []
    for _ in range(_LOOKS):
        began = perf_counter()
        connection.execute(statement.encode())
        times.append(1000 * (perf_counter() - began))
    return median(times)
