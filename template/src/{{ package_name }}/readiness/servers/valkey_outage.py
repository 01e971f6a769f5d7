"""A Valkey or Redis of a check's own, which is killed and started again."""

from collections.abc import Iterator
from contextlib import contextmanager

from .lifeline import Server
from .valkey_server import held_server


class Stoppable:
    """A server that runs."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def begin(self) -> None:
        """Kill it."""
        self._server.order("away")

    def end(self) -> None:
        """Return when it takes connections again, with what its append-only file has."""
        self._server.order("back")


@contextmanager
def stoppable() -> Iterator[tuple[str, Stoppable]]:
    """Yield the URL of a server, and the server, which is no one else's."""
    with held_server() as (url, server):
        yield url, Stoppable(server)
