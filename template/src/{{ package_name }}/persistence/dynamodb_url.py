"""URLs of a table in Amazon DynamoDB, with a bucket in S3 for what is too large for it."""

import re
from typing import NamedTuple
from urllib.parse import unquote

from ..errors import PROGRAM
from .errors import BadDatabaseUrl
from .urls import BROKEN_ESCAPE

BACKEND = "dynamodb"
EMBEDDED = False
OPEN = True
PRUNES = False
SEALS = False
MIGRATES = True
INSPECTION = ""
EXAMPLE = "dynamodb://agent?region=eu-west-1&bucket=agent-values"
SCHEMES = {"dynamodb": "dynamodb"}
OPENER, MIGRATOR = "dynamodb", "dynamodb_migrate"
RETENTION = "items.retention"

PREFIX = "prefix"

_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_FORMS = {
    "region": (re.compile(r"[a-z]{2,4}(-[a-z]+){1,3}-\d"), "that is not like eu-west-1"),
    "bucket": (
        re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
        "that is not 3 to 63 of a-z, 0-9, dot and dash, with a letter or a digit at both ends",
    ),
    PREFIX: (re.compile(r"[A-Za-z0-9._-]{1,40}"), "that is not 1 to 40 of A-Z, a-z, 0-9, dot, dash and _"),
    "endpoint": (
        re.compile(r"(https?://)?([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?/?"),
        "that is not like http://localhost:5000, with : and / written as %3A and %2F if need be",
    ),
}
_NEEDED = ("region", "bucket")


class Place(NamedTuple):
    """What a URL names."""

    table: str
    region: str
    bucket: str
    prefix: str  # what the items' partitions and the objects' keys begin with
    endpoint: str | None  # of a server other than Amazon's, for both


def cut(scheme: str, rest: str) -> str:
    """Return what follows `://`. Raises BadDatabaseUrl."""
    del scheme
    table, _, query = rest.partition("?")
    if "@" in rest or ":" in table:
        raise BadDatabaseUrl(
            "has a user or a password, and this backend takes none: give the process a role, or set AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY in its environment",
            EXAMPLE,
        )
    if re.search(r"[#\s]", rest) or BROKEN_ESCAPE.search(rest):
        raise BadDatabaseUrl("holds a space, a # or a % that is not followed by two hexadecimal digits", EXAMPLE)
    if not table:
        raise BadDatabaseUrl("names no table", EXAMPLE)
    if not _TABLE.fullmatch(table):
        raise BadDatabaseUrl("has a table that is not 3 to 255 of A-Z, a-z, 0-9, dot, dash and _", EXAMPLE)
    given = _parameters(query)
    for name, value in given:
        _check(name, value)
    for name in _NEEDED:
        if name not in dict(given):
            raise BadDatabaseUrl(f"has no {name}", EXAMPLE)
    return rest


def shown(rest: str) -> str:
    """Return the name of the table."""
    return rest.partition("?")[0]


def place_of(url: str) -> Place:
    """Return what a normalised URL names; the prefix is the project's name, unless the URL has another."""
    rest = url.partition("://")[2]
    given = dict(_parameters(rest.partition("?")[2]))
    endpoint = given.get("endpoint")
    if endpoint and "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    return Place(shown(rest), given["region"], given["bucket"], given.get(PREFIX, PROGRAM), endpoint or None)


def _check(name: str, value: str) -> None:
    if name == "ttl":
        raise BadDatabaseUrl(
            "has a ttl, which would delete threads that wait. Set AUDIT_WINDOW_DAYS and PAUSED_TTL_DAYS instead,"
            " and let something call purge",
            EXAMPLE,
        )
    if name not in _FORMS:
        shown = repr(name) if re.fullmatch(r"\w{1,30}", name) else "one that is no name"
        raise BadDatabaseUrl(f"has the parameter {shown}; known are {', '.join(_FORMS)}", EXAMPLE)
    form, needed = _FORMS[name]
    if not form.fullmatch(value):
        raise BadDatabaseUrl(f"has a {name} {needed}", EXAMPLE)


def _parameters(query: str) -> list[tuple[str, str]]:
    given = [item.partition("=") for item in query.split("&") if item]
    return [(unquote(name), unquote(value)) for name, _, value in given]
