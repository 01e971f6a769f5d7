"""A DynamoDB of a check's own, which answers nobody for a while. It keeps nothing, so it is frozen and not ended."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ...persistence import migrate
from .dynamodb_fixtures import url_at
from .dynamodb_server import ENVIRONMENT, held_server
from .lifeline import Server


class Stoppable:
    """A server that runs."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def begin(self) -> None:
        """Let it answer nobody any more."""
        self._server.order("away")

    def end(self) -> None:
        """Let it answer, also what was asked meanwhile."""
        self._server.order("back")


@contextmanager
def stoppable() -> Iterator[tuple[str, Stoppable]]:
    """Yield the URL of a table, and the server, which is no one else's."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        with held_server() as (endpoint, server):
            url = url_at(endpoint)
            asyncio.run(migrate(url))
            yield url, Stoppable(server)
