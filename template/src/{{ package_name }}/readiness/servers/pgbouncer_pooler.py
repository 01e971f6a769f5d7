"""Pytest fixtures for a real PgBouncer: one for the session, before the session's PostgreSQL."""

import os
from collections.abc import Iterator

import pytest

from .pgbouncer import PgBouncerMissing, find_pgbouncer, pgbouncer


@pytest.fixture(scope="session")
def pooler_url(postgres_template: tuple[str, str]) -> Iterator[str]:
    """The URL of a PgBouncer before the session's server. Skips where none is installed; see `require_pgbouncer`."""
    require_pgbouncer()
    with pgbouncer(postgres_template[0]) as url:
        yield url


def require_pgbouncer() -> None:
    """Skip the test, saying why, on a machine without PgBouncer; fail it in CI, where nobody reads what was skipped."""
    try:
        find_pgbouncer()
    except PgBouncerMissing as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))


@pytest.fixture
def direct_url(postgres_url: str) -> str:
    """The URL that leads straight to the same database."""
    return postgres_url


@pytest.fixture
def pgbouncer_url(pooler_url: str, postgres_url: str) -> str:
    """The URL, through PgBouncer, of a migrated database of the test's own; `direct_url` leads straight to it."""
    return f"{pooler_url.rpartition('/')[0]}/{postgres_url.rpartition('/')[2].partition('?')[0]}"
