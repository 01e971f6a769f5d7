"""URLs of Valkey and Redis as people have them."""

import re
from urllib.parse import unquote

from ..errors import PROGRAM
from .errors import BadDatabaseUrl
from .urls import BROKEN_ESCAPE, HOSTS, without_password

BACKEND = "valkey"
EMBEDDED = False
OPEN = True
PRUNES = False
SEALS = False
MIGRATES = False
INSPECTION = ""
EXAMPLE = "redis://user:password@host:6379/0"
SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss"}
OPENER = MIGRATOR = "valkey"
RETENTION = "items.retention"

PREFIX, PERSISTENCE = "prefix", "persistence"
MANAGED = "managed"  # somebody else sees to it, and the server does not say how

_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,40}")
_NUMBER = re.compile(r"/?|/\d{1,4}")


def cut(scheme: str, rest: str) -> str:
    """Return what follows `://`. Raises BadDatabaseUrl."""
    del scheme
    head, _, query = rest.partition("?")
    authority, slash, number = head.partition("/")
    credentials, at, host = authority.rpartition("@")
    stray_at = "@" in credentials or rest.count("@") > len(at)
    if stray_at or re.search(r"[#\s]", rest) or BROKEN_ESCAPE.search(rest) or not HOSTS.fullmatch(host) or "," in host:
        raise BadDatabaseUrl(
            "cannot be cut into user, password, host, port and number. Inside each of them write "
            "% as %25, @ as %40, / as %2F, : as %3A, # as %23, ? as %3F and a space as %20",
            EXAMPLE,
        )
    if not _NUMBER.fullmatch(slash + number):
        raise BadDatabaseUrl("has something behind its last slash that is not the number of a database", EXAMPLE)
    for name, value in _parameters(query):
        if name == "ttl":
            raise BadDatabaseUrl(
                "has a ttl, which would delete threads that wait. Set AUDIT_WINDOW_DAYS and PAUSED_TTL_DAYS instead,"
                " and let something call purge",
                EXAMPLE,
            )
        if name not in {PREFIX, PERSISTENCE}:
            shown = repr(name) if re.fullmatch(r"\w{1,30}", name) else "one that is no name"
            raise BadDatabaseUrl(f"has the parameter {shown}; known are {PREFIX} and {PERSISTENCE}", EXAMPLE)
        if name == PREFIX and not _PREFIX.fullmatch(value):
            raise BadDatabaseUrl(f"has a {PREFIX} that is not 1 to 40 of A-Z, a-z, 0-9, dot, dash and _", EXAMPLE)
        if name == PERSISTENCE and value != MANAGED:
            raise BadDatabaseUrl(f"has a {PERSISTENCE} that is not {MANAGED}", EXAMPLE)
    return rest


shown = without_password


def prefix_of(url: str) -> str:
    """Return what the keys of a normalised URL begin with: the project's name, unless the URL has another."""
    return dict(_parameters(url.partition("?")[2])).get(PREFIX, PROGRAM)


def is_managed(url: str) -> bool:
    """Tell whether a normalised URL says that somebody else sees to the server's persistence."""
    return dict(_parameters(url.partition("?")[2])).get(PERSISTENCE) == MANAGED


def server_of(url: str) -> str:
    """Return a normalised URL without its parameters, for the client."""
    return url.partition("?")[0]


def _parameters(query: str) -> list[tuple[str, str]]:
    given = [item.partition("=") for item in query.split("&") if item]
    return [(unquote(name), unquote(value)) for name, _, value in given]
