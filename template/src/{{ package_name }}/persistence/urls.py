"""Database URLs as people have them, turned into what the backends accept.

Each backend has a module `..._url`, which says what it is called and how it is read, and names its other modules. A
project has those of its own backend only (copier.yml), so they are looked for and not imported.

The text is cut by hand: `urlsplit` repeats what it cannot read, password included, and `urlunsplit` loses slashes.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Protocol, cast

from .errors import BadDatabaseUrl, LibraryMissing

BROKEN_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
HOSTS = re.compile(r"(?:(?:\[[0-9a-fA-F:.%]+\]|[^:,\[\]]*)(?::\d*)?(?:,|$))*")

_SCHEME_NAME = re.compile(r"[a-z][a-z0-9+._-]{0,30}", re.IGNORECASE)


class Backend(Protocol):
    """What the module `..._url` of a backend has."""

    BACKEND: str  # the template's answer
    EMBEDDED: bool  # its URLs lead to no server: to a file, or to this process's memory
    OPEN: bool  # the parameters of its URLs hold no secret, and tell one place from another
    SEALS: bool  # it can encrypt what it stores
    PRUNES: bool  # its checkpointer has LangGraph's `aprune`
    MIGRATES: bool  # `migrate` makes what it needs, and nothing else does
    INSPECTION: str  # the module that asks the server how it is, and its queue; empty: there are none
    EXAMPLE: str
    SCHEMES: Mapping[str, str]  # as people write them, and as they are passed on
    OPENER: str  # the modules that open it, bring it up to date, and forget
    MIGRATOR: str
    RETENTION: str

    def cut(self, scheme: str, rest: str) -> str:
        """Return what follows `://`. Raises BadDatabaseUrl."""

    def shown(self, rest: str) -> str:
        """Return that for a message: without password and parameters."""


def normalise(url: str) -> str:
    """Return the URL with the scheme that its backend goes by, and without what only other programs understand.

    `sqlite:///a/b.db` is relative to the working directory, `sqlite:////a/b.db` absolute; the path is taken literally.
    Raises BadDatabaseUrl, whose text repeats nothing of the URL but its scheme.
    """
    text = url.strip()
    if not text:
        raise BadDatabaseUrl("is empty", examples())
    if not text.isprintable():
        raise BadDatabaseUrl("holds a line break or another unprintable character", examples())
    given, mark, rest = text.partition("://")
    if not mark:
        raise BadDatabaseUrl("has no scheme such as sqlite://", examples())
    backend = _by_scheme().get(given.lower())
    if backend is None:
        shown = repr(given) if _SCHEME_NAME.fullmatch(given) else "something that is no scheme"
        raise BadDatabaseUrl(
            f"starts with {shown}; this project knows {', '.join(sorted(_by_scheme()))}, and another backend comes with"
            " uvx copier update -d backend=NAME (its threads: docs/persistence.md, moving to another database)",
            examples(),
        )
    scheme = backend.SCHEMES[given.lower()]
    return f"{scheme}://{backend.cut(scheme, rest)}"


def backend_of(url: str) -> Backend:
    """Return the backend of a URL. Raises BadDatabaseUrl."""
    return _by_scheme()[normalise(url).partition(":")[0]]


def module_of(name: str) -> object:
    """Return one of a backend's modules. Raises LibraryMissing."""
    try:
        return import_module(f"{__package__}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(str(__package__)):
            raise
        raise LibraryMissing(error.name or "") from None


def is_embedded(url: str) -> bool:
    """Tell whether a URL leads to no server: a file, or this process's memory."""
    backend = _by_scheme().get(url.strip().partition(":")[0].lower())
    return backend is not None and backend.EMBEDDED


def has_queue(url: str) -> bool:
    """Tell whether workers can take runs from the database of a URL. Raises BadDatabaseUrl."""
    return bool(backend_of(url).INSPECTION)


def describe(url: str, *, parameters: bool = False) -> str:
    """Return the URL for a message: without password, or no part of it if it cannot be read.

    With `parameters` also those, if they are open.
    """
    try:
        scheme, _, rest = normalise(url).partition("://")
    except BadDatabaseUrl:
        return "the database"
    backend = _by_scheme()[scheme]
    more = "".join(rest.partition("?")[1:]) if parameters and backend.OPEN else ""
    return f"{scheme}://{backend.shown(rest)}{more}"


def without_password(rest: str) -> str:
    """Return what follows `://` of a server's URL, without password and parameters."""
    authority, slash, name = rest.partition("?")[0].partition("/")
    credentials, at, hosts = authority.rpartition("@")
    return f"{credentials.partition(':')[0]}{at}{hosts}{slash}{name}"


def examples() -> str:
    """Return a URL for each backend of the project."""
    return " or ".join(sorted({backend.EXAMPLE for backend in _by_scheme().values()}, reverse=True))


def backends() -> list[Backend]:
    """Return the backends of the project, the one for servers last, if there is one."""
    return sorted({id(found): found for found in _by_scheme().values()}.values(), key=lambda found: not found.EMBEDDED)


@cache
def _by_scheme() -> dict[str, Backend]:
    names = [found.name for found in iter_modules([str(Path(__file__).parent)]) if found.name.endswith("_url")]
    found = [cast("Backend", import_module(f"{__package__}.{name}")) for name in names]
    return {scheme: backend for backend in found for scheme in backend.SCHEMES}
