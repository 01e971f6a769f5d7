"""Pytest fixtures for a real Valkey or Redis: one server for the session, keys of a test's own."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from .valkey_server import valkey_server


@pytest.fixture(scope="session")
def valkey_server_url() -> Iterator[str]:
    """The URL of a server."""
    with valkey_server() as url:
        yield url


@pytest.fixture
def valkey_url(valkey_server_url: str) -> str:
    """The URL of a server, with a prefix of the test's own."""
    return f"{valkey_server_url}?prefix=test-{uuid4().hex[:12]}"
