"""How this project connects to PostgreSQL: the parameters of every connection, and a single one outside the pool."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection, pq
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row

from ..errors import PROGRAM
from ..settings import Settings
from .errors import BadDatabaseUrl, DatabaseUnreachable
from .postgres_url import EXAMPLE
from .urls import describe, normalise

_SHORTEST_CONNECT_TIMEOUT = 2  # seconds; libpq and psycopg raise anything below to it

# A peer that vanished without a word (power, firewall, failover) is noticed after about a minute; the kernel's own
# defaults take two hours on a silent connection and a quarter of an hour on one that is sending.
_KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 30,  # seconds
    "keepalives_interval": 10,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}


def connection_parameters(url: str, settings: Settings) -> dict[str, Any]:
    """Return psycopg's keyword arguments. What the URL sets (timeouts, application_name, ...) wins over our defaults.

    The pool gets these and never the URL, which it would print in its warnings. The values are psycopg's own mixture of
    types, hence Any.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:  # its text repeats the whole URL
        raise BadDatabaseUrl(_what_libpq_refuses(url), EXAMPLE) from None
    return {
        "application_name": PROGRAM,
        # Half of the whole wait, so that a second address of the host still gets its turn.
        "connect_timeout": max(_SHORTEST_CONNECT_TIMEOUT, int(settings.database_timeout / 2)),
        **_KEEPALIVE,
        **given,
        "autocommit": True,  # CREATE INDEX CONCURRENTLY refuses a transaction; a lone statement needs none
        # Behind a transaction pooler (PgBouncer) a prepared statement may run on another client's connection, even with
        # that client's statement under the same name. None, unlike 0, never prepares. The pool's direct ones may.
        "prepare_threshold": None,
        "row_factory": dict_row,
    }


@asynccontextmanager
async def direct_connection(url: str, settings: Settings) -> AsyncIterator[AsyncConnection[DictRow]]:
    """Yield one connection. Raises DatabaseUnreachable for whatever the server, or the way to it, refuses."""
    parameters = connection_parameters(url, settings)
    where, setting = describe(url), _setting(url, settings)
    try:
        async with asyncio.timeout(settings.database_timeout):
            connection: AsyncConnection[DictRow] = await AsyncConnection.connect(**parameters)
    except TimeoutError:
        raise DatabaseUnreachable(where, f"no answer within {settings.database_timeout:g} s", setting) from None
    except (psycopg.Error, UnicodeError) as error:  # UnicodeError: a host name with an empty or overlong part
        raise DatabaseUnreachable(where, _first_line(error), setting) from error
    async with connection:
        try:
            yield connection
        except psycopg.Error as error:
            raise DatabaseUnreachable(where, _first_line(error), setting) from error


def _setting(url: str, settings: Settings) -> str:
    direct = settings.database_direct_url.get_secret_value()
    return "DATABASE_DIRECT_URL" if direct and url == normalise(direct) else "DATABASE_URL"


def _first_line(error: Exception) -> str:
    """Return the cause alone: libpq goes on with advice and with every other address that it tried."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip()


def _what_libpq_refuses(url: str) -> str:
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    named = [item.partition("=")[0] for item in url.partition("?")[2].split("&") if item]
    unknown = [name for name in named if name not in known]
    return f"has the parameter {unknown[0]!r}, which libpq does not know" if unknown else "is refused by libpq"
