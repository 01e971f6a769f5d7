"""URLs of PostgreSQL as people have them (SQLAlchemy, Heroku, asyncpg), turned into what libpq accepts.

libpq repeats what it cannot read, password included. So what it would misread is refused before it sees it.
"""

import re

from .errors import BadDatabaseUrl
from .urls import BROKEN_ESCAPE, HOSTS, without_password

BACKEND = "postgres"
EMBEDDED = False
OPEN = False
PRUNES = True
SEALS = True
MIGRATES = True
INSPECTION = "postgres_inspection"
EXAMPLE = "postgresql://user:password@host:5432/name"
SCHEMES = {
    "postgres": "postgresql",
    "postgresql": "postgresql",
    **{
        f"{name}+{driver}": "postgresql"
        for name in ("postgres", "postgresql")
        for driver in ("asyncpg", "psycopg", "psycopg2", "psycopg_async")
    },
}
OPENER, MIGRATOR, RETENTION = "postgres", "postgres_migrate", "postgres_retention"

# They tune SQLAlchemy or asyncpg, not the server: a URL shared with such a program still works here.
_FOREIGN_PARAMETERS = frozenset(
    {"async_fallback", "max_overflow", "pool_size", "prepared_statement_cache_size", "statement_cache_size"}
)
_SSL_WORDS = {"true": "require", "1": "require", "false": "disable", "0": "disable"}  # others are sslmode's own


def cut(scheme: str, rest: str) -> str:
    """Return what follows `://`, without foreign parameters. Raises BadDatabaseUrl."""
    del scheme
    head, _, query = rest.partition("?")
    credentials, at, hosts = head.partition("/")[0].rpartition("@")
    stray_at = "@" in credentials or rest.count("@") > len(at)
    if stray_at or re.search(r"[#\s]", rest) or BROKEN_ESCAPE.search(rest) or not HOSTS.fullmatch(hosts):
        raise BadDatabaseUrl(
            "cannot be cut into user, password, host, port and name. Inside each of them write "
            "% as %25, @ as %40, / as %2F, : as %3A, # as %23, ? as %3F and a space as %20",
            EXAMPLE,
        )
    kept = [_libpq(item) for item in query.split("&") if item and item.partition("=")[0] not in _FOREIGN_PARAMETERS]
    return f"{head}?{'&'.join(kept)}" if kept else head


shown = without_password


def _libpq(parameter: str) -> str:
    name, _, value = parameter.partition("=")
    return f"sslmode={_SSL_WORDS.get(value.lower(), value)}" if name == "ssl" else parameter
