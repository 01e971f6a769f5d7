"""Database URLs as people have them (SQLAlchemy, Heroku, asyncpg), turned into what SQLite and libpq accept.

The text is cut by hand. `urlunsplit` turns `postgresql:///db?host=/socket` into `postgresql:/db`, and both `urlsplit`
and libpq repeat what they cannot read, password included. So what libpq would misread is refused before libpq sees it.
"""

import re
from pathlib import Path

from .errors import BadDatabaseUrl

MEMORY = "memory://"

_SCHEMES = {
    "memory": "memory",
    "sqlite": "sqlite",
    "sqlite+aiosqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql",
    "postgresql": "postgresql",
    **{
        f"{name}+{driver}": "postgresql"
        for name in ("postgres", "postgresql")
        for driver in ("asyncpg", "psycopg", "psycopg2", "psycopg_async")
    },
}

# They tune SQLAlchemy or asyncpg, not the server: a URL shared with such a program still works here.
_FOREIGN_PARAMETERS = frozenset(
    {"async_fallback", "max_overflow", "pool_size", "prepared_statement_cache_size", "statement_cache_size"}
)
_SSL_WORDS = {"true": "require", "1": "require", "false": "disable", "0": "disable"}  # others are sslmode's own

_SCHEME_NAME = re.compile(r"[a-z][a-z0-9+._-]{0,30}", re.IGNORECASE)
_BROKEN_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_HOSTS = re.compile(r"(?:(?:\[[0-9a-fA-F:.%]+\]|[^:,\[\]]*)(?::\d*)?(?:,|$))*")


def normalise(url: str) -> str:
    """Return the URL with its driver suffix and foreign parameters removed: `sqlite:///...` or `postgresql://...`.

    `memory://` stays as it is.
    `sqlite:///a/b.db` is relative to the working directory, `sqlite:////a/b.db` absolute; the path is taken literally.
    Raises BadDatabaseUrl, whose text repeats nothing of the URL but its scheme.
    """
    text = url.strip()
    if not text:
        raise BadDatabaseUrl("is empty")
    if not text.isprintable():
        raise BadDatabaseUrl("holds a line break or another unprintable character")
    given, mark, rest = text.partition("://")
    if not mark:
        raise BadDatabaseUrl("has no scheme such as sqlite:// or postgresql://")
    scheme = _SCHEMES.get(given.lower())
    if scheme is None:
        shown = repr(given) if _SCHEME_NAME.fullmatch(given) else "something that is no scheme"
        raise BadDatabaseUrl(f"starts with {shown}; supported are {', '.join(sorted(_SCHEMES))}")
    if scheme == "memory":
        if rest:
            raise BadDatabaseUrl(f"has something behind {MEMORY}, which names nothing")
        return MEMORY
    return f"{scheme}://{_sqlite(rest) if scheme == 'sqlite' else _postgres(rest)}"


def is_embedded(url: str) -> bool:
    """Tell whether a URL leads to no server: a file, or this process's memory."""
    return url.strip().lower().startswith(("sqlite", "memory"))


def describe(url: str) -> str:
    """Return the URL for a message: without password and parameters, or no part of it if it cannot be read."""
    try:
        scheme, _, rest = normalise(url).partition("://")
    except BadDatabaseUrl:
        return "the database"
    if scheme in {"memory", "sqlite"}:
        return f"{scheme}://{rest}"
    authority, slash, name = rest.partition("?")[0].partition("/")
    credentials, at, hosts = authority.rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}{at}{hosts}{slash}{name}"


def sqlite_path(url: str) -> Path:
    """Return the file that a normalised `sqlite:///` URL names; `:memory:`, as SQLite calls it, for `memory://`."""
    return Path(":memory:" if url == MEMORY else url.removeprefix("sqlite:///"))


def _sqlite(rest: str) -> str:
    path = rest.removeprefix("/")
    if path in {"", ":memory:"} or path.startswith("file:"):
        raise BadDatabaseUrl("names no file: a database in memory would lose every thread when the process ends")
    if path == rest:
        raise BadDatabaseUrl("needs three slashes before a relative path and four before an absolute one")
    if "?" in path:
        raise BadDatabaseUrl("has parameters after '?', and sqlite takes none")
    return rest


def _postgres(rest: str) -> str:
    head, _, query = rest.partition("?")
    credentials, at, hosts = head.partition("/")[0].rpartition("@")
    stray_at = "@" in credentials or rest.count("@") > len(at)
    if stray_at or re.search(r"[#\s]", rest) or _BROKEN_ESCAPE.search(rest) or not _HOSTS.fullmatch(hosts):
        raise BadDatabaseUrl(
            "cannot be cut into user, password, host, port and name. Inside each of them write "
            "% as %25, @ as %40, / as %2F, : as %3A, # as %23, ? as %3F and a space as %20"
        )
    kept = [_libpq(item) for item in query.split("&") if item and item.partition("=")[0] not in _FOREIGN_PARAMETERS]
    return f"{head}?{'&'.join(kept)}" if kept else head


def _libpq(parameter: str) -> str:
    name, _, value = parameter.partition("=")
    return f"sslmode={_SSL_WORDS.get(value.lower(), value)}" if name == "ssl" else parameter
