"""URLs of SQLite files as people have them, and the one of this process's memory."""

from pathlib import Path

from .errors import BadDatabaseUrl

MEMORY = "memory://"

BACKEND = "sqlite"
EMBEDDED = True
OPEN = False
PRUNES = False
SEALS = False
MIGRATES = False
INSPECTION = ""
EXAMPLE = "sqlite:///folder/file.db"
SCHEMES = {"memory": "memory", "sqlite": "sqlite", "sqlite+aiosqlite": "sqlite", "sqlite+pysqlite": "sqlite"}
OPENER = MIGRATOR = "sqlite"
RETENTION = "sqlite_retention"


def cut(scheme: str, rest: str) -> str:
    """Return what follows `://`. Raises BadDatabaseUrl."""
    if scheme == "memory":
        if rest:
            raise BadDatabaseUrl(f"has something behind {MEMORY}, which names nothing", EXAMPLE)
        return rest
    path = rest.removeprefix("/")
    if path in {"", ":memory:"} or path.startswith("file:"):
        raise BadDatabaseUrl("names no file: one in memory would lose every thread when the process ends", EXAMPLE)
    if path == rest:
        raise BadDatabaseUrl("needs three slashes before a relative path and four before an absolute one", EXAMPLE)
    if "?" in path:
        raise BadDatabaseUrl("has parameters after '?', and sqlite takes none", EXAMPLE)
    return rest


def shown(rest: str) -> str:
    """Return it for a message."""
    return rest


def sqlite_path(url: str) -> Path:
    """Return the file that a normalised `sqlite:///` URL names; `:memory:`, as SQLite calls it, for `memory://`."""
    return Path(":memory:" if url == MEMORY else url.removeprefix("sqlite:///"))
