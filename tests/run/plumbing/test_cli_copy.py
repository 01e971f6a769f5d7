"""`copy-threads` as people meet it."""

from __future__ import annotations  # Shell has a name for mypy only

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from acme_agent.persistence import migrate

if TYPE_CHECKING:
    from plumbing.conftest import Shell  # tests are not a package: nothing can be imported from there


def test_the_command(shell: Shell, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of a team that has outgrown one machine."""
    assert shell("run", "How many books may a member borrow?", "--thread-id", "old") == 0
    assert shell("run", "How many books may a member borrow?", "--approve", "--thread-id", "asks") == 3
    assert shell("copy-threads", "sqlite:///.data/threads.db", database) == 0
    assert "threads: 2 copied" in shell.err
    assert shell("copy-threads", "sqlite:///.data/threads.db", database, "--json") == 0
    assert {one["thread_id"]: one["outcome"] for one in shell.objects()} == {"asks": "there", "old": "there"}
    monkeypatch.setenv("DATABASE_URL", database)
    assert shell("answer", "asks", "yes") == 0
    assert shell("copy-threads", "sqlite:///.data/threads.db", database) == 1
    assert "differs: asks: the target has a thread of this id, which is left as it is" in shell.out


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no server."""
    monkeypatch.setenv("DATABASE_TIMEOUT", "1")


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("sqlite:///a.db", "sqlite:///a.db", "both URLs name sqlite:///a.db"),
        ("sqlite:///none.db", "sqlite:///b.db", "there is no sqlite:///none.db to copy from"),
        ("mysql://u:secret-word@h/n", "sqlite:///b.db", "starts with 'mysql'"),
        ("sqlite:///a.db", "postgresql://u:secret-word@127.0.0.1:1/n", "127.0.0.1:1"),
    ],
    ids=["onto itself", "from nothing", "of an unknown kind", "to nobody"],
)
@pytest.mark.usefixtures("hurried")
def test_what_cannot_be_copied(shell: Shell, tmp_path: Path, source: str, target: str, said: str) -> None:
    asyncio.run(migrate("sqlite:///a.db"))
    assert shell("copy-threads", source, target) in {1, 2}
    assert said in shell.err
    assert "secret-word" not in shell.err
    assert not (tmp_path / "none.db").exists()


def test_a_target_without_tables_is_told(shell: Shell, empty_database: str) -> None:
    asyncio.run(migrate("sqlite:///a.db"))
    assert shell("copy-threads", "sqlite:///a.db", empty_database) == 2
    assert "acme-agent migrate; for that, DATABASE_URL is the second URL" in shell.err
