"""What ENVIRONMENT=production refuses to start with, each with its remedy.

URLs are cut by hand and no text repeats one: Python's parser names what it cannot read, password included.
"""

import base64
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pydantic import SecretStr

if TYPE_CHECKING:
    from .settings import Settings

REFUSES = "ENVIRONMENT=production refuses"
BESIDE_POOL = 2  # connections that a process holds besides its pool, straight to the server: news of runs and of jobs
EPHEMERAL = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/var/run")  # noqa: S108 - they are refused
CLOUD_SOCKETS = "/cloudsql/"  # a folder of sockets that lead to another machine
DEFAULT_PASSWORDS = frozenset(
    "admin agent app change-me change_me changeit changeme default demo dev example pass passwd password password123"
    " pw root secret test user 123456".split()
)
SHORTEST_DEFAULT = 4  # letters of the database's name that are a password as well known as those
KEY_LENGTH = 32  # bytes of CHECKPOINT_KEY
FEWEST_VALUES = 12  # different bytes of a key; of 32 random ones about 30 differ

_POOLER = re.compile(r"bouncer|pooler|pgcat|supavisor", re.IGNORECASE)
_POOLER_PORTS = frozenset({"6432", "6543"})  # the usual ones
_SECRET_NAME = re.compile(r"(^|_)(secret|password|token|api_?key)$")


def refusals(settings: "Settings") -> Iterator[str]:
    """Yield why these settings must not serve in production, a line each; nothing if they may."""
    url = settings.database_url.get_secret_value().strip()
    if not url:
        yield "ENVIRONMENT=production needs DATABASE_URL: without it threads live in a local file"
    elif url.lower().startswith("memory"):
        yield f"{REFUSES} memory://, which loses every thread when the process ends: set DATABASE_URL to a server"
    elif url.lower().startswith("sqlite"):
        yield from _of_a_file(url, settings.replicas)
    else:
        yield from _of_servers(url, settings.database_direct_url.get_secret_value().strip())
        yield from _of_connections(settings)
    if _is_example(settings.checkpoint_key.get_secret_value()):
        yield f"{REFUSES} this CHECKPOINT_KEY, which is no random one: docs/persistence.md says how to make one"
    for name in default_secrets(type(settings)):
        if getattr(settings, name) == type(settings).model_fields[name].default:
            yield f"{REFUSES} the default of {name.upper()}, which stands in the source: set it"


def connections(settings: "Settings") -> int:
    """Return how many connections all processes together take of the server, or of the pooler before it."""
    beside = 0 if settings.database_direct_url.get_secret_value() else BESIDE_POOL
    return settings.replicas * (settings.database_pool_max + beside)


def servers(url: str) -> list[tuple[str, str]]:
    """Return the hosts of a server's URL, each with its port; a socket's folder is a host, "" is the default one.

    None for what is found by its name, as a cloud's own services are.
    """
    head, _, query = url.partition("://")[2].partition("?")
    authority = head.partition("/")[0].rpartition("@")[2]
    found = [_host_and_port(part) for part in authority.split(",")]
    given = [item.partition("=") for item in query.split("&")]
    named = [value for name, _, value in given if name in {"host", "hostaddr", "endpoint"}]
    if named:
        return [(_bare(unquote(host)), found[0][1]) for value in named for host in value.split(",")]
    return [] if any(name in {"service", "region"} for name, _, _ in given) else found


def is_pooled(url: str) -> bool:
    """Tell whether a URL leads to a connection pooler, as far as its hosts' names and ports tell."""
    return any(_POOLER.search(host) or port in _POOLER_PORTS for host, port in servers(url))


def default_secrets(settings: "type[Settings]") -> list[str]:
    """Return the secret settings that have a value in the source."""
    found = []
    for name, field in settings.model_fields.items():
        value: Any = field.default  # Any: whatever the field holds
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif not _SECRET_NAME.search(name.lower()):
            continue
        if isinstance(value, str) and value:
            found.append(name)
    return found


def _of_a_file(url: str, replicas: int) -> Iterator[str]:
    path = url.partition("://")[2].removeprefix("/")
    if not path or path.startswith((":memory:", "file:")):
        yield f"{REFUSES} a database in memory: name a file in DATABASE_URL, or a server"
    elif any(Path(path).resolve().is_relative_to(Path(folder).resolve()) for folder in EPHEMERAL):
        yield f"{REFUSES} a DATABASE_URL below {', '.join(EPHEMERAL)}: name a file on a disk that is kept"
    if replicas > 1:
        yield (
            f"{REFUSES} SQLite with REPLICAS={replicas}: a file serves one machine. Set REPLICAS=1, or DATABASE_URL to"
            " a server"
        )


def _of_servers(url: str, direct: str) -> Iterator[str]:
    for name, given in ("DATABASE_URL", url), ("DATABASE_DIRECT_URL", direct):
        if given and any(_is_local(host) for host, _ in servers(given)):
            yield f"{REFUSES} a database on localhost: set {name} to the server"
        if given and _has_default_password(given):
            yield f"{REFUSES} the password in {name}, a default that everybody knows: give the role another one"
    if not direct and is_pooled(url):
        yield (
            f"{REFUSES} a DATABASE_URL that leads to a connection pooler without DATABASE_DIRECT_URL: set that to the"
            " server itself, which migrations and notices need"
        )


def _bare(host: str) -> str:
    """Return the host of an address that may have a scheme and a port; a socket's folder is left alone."""
    name = host.rpartition("://")[2]
    return name if name.startswith(("/", "[")) or name.count(":") != 1 else name.partition(":")[0]


def _of_connections(settings: "Settings") -> Iterator[str]:
    if settings.database_pool_max == 1:
        yield f"{REFUSES} DATABASE_POOL_MAX=1: all runs of a process would wait for one connection. Set 2 at least"
    needed, pooled = connections(settings), bool(settings.database_direct_url.get_secret_value())
    if needed > settings.database_max_connections and servers(settings.database_url.get_secret_value()):
        beside = "" if pooled else f" + {BESIDE_POOL}"
        yield (
            f"{REFUSES} {needed} connections, REPLICAS={settings.replicas} times"
            f" DATABASE_POOL_MAX={settings.database_pool_max}{beside}, with"
            f" DATABASE_MAX_CONNECTIONS={settings.database_max_connections}: lower one of the two, or raise what"
            f" {'the pooler' if pooled else 'the server'} takes, and the setting with it"
        )


def _host_and_port(part: str) -> tuple[str, str]:
    if part.startswith("["):
        host, _, port = part[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = part.partition(":")
    return unquote(host), port


def _is_local(host: str) -> bool:
    host = host.lower().rstrip(".")
    if host.startswith("/"):
        return not host.startswith(CLOUD_SOCKETS)
    return host in {"", "localhost", "::1", "::", "0.0.0.0"} or host.startswith("127.") or host.endswith(".localhost")  # noqa: S104 - it is refused


def _has_default_password(url: str) -> bool:
    head, _, query = url.partition("://")[2].partition("?")
    user, _, password = head.partition("/")[0].rpartition("@")[0].partition(":")
    named = [item.partition("=")[2] for item in query.split("&") if item.startswith("password=")]
    known, scheme = {*DEFAULT_PASSWORDS, unquote(user).lower()} - {""}, url.partition(":")[0].lower()
    given = [unquote(word).lower() for word in [password, *named] if word]
    return any(word in known or (word in scheme and len(word) >= SHORTEST_DEFAULT) for word in given)


def _is_example(key: str) -> bool:
    """Tell whether a key is a text, a repetition or a count; one that is no key is refused where it is read."""
    try:
        value = base64.b64decode(key.strip().replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:
        return False
    if len(value) != KEY_LENGTH:
        return False
    steps = {(after - before) % 256 for before, after in pairwise(value)}
    return len(set(value)) < FEWEST_VALUES or len(steps) == 1 or all(32 <= byte < 127 for byte in value)
