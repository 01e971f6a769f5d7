"""Forgetting in a store of items: what goes, what stays, and what comes back."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from acme_agent.agent import AgentSettings, new_input
from acme_agent.agent.offline_scenarios import EXAMPLES
from acme_agent.persistence import (
    ArchiveUnknown,
    HistoryNeeded,
    Retention,
    Rows,
    ThreadExists,
    ValueUnreadable,
    open_checkpointer,
    open_retention,
)
from acme_agent.persistence.items import Change, Items, ItemSaver, Span, forms, keys, retention
from acme_agent.runs import Runs, open_runs
from acme_agent.settings import Settings
from langgraph.checkpoint.base import ChannelVersions, empty_checkpoint
from pydantic import SecretStr

from .conftest import store, thread

QUESTION = "How many books may a member borrow?"


@pytest.fixture
async def saver(valkey_url: str, settings: Settings) -> AsyncIterator[ItemSaver]:
    """A saver."""
    async with open_checkpointer(valkey_url, settings=settings) as saver:
        assert isinstance(saver, ItemSaver)
        yield saver


@pytest.fixture
def kept(saver: ItemSaver, valkey_url: str) -> Retention:
    """Its retention."""
    return open_retention(valkey_url, saver)


async def items_of(items: Items, name: str) -> list[tuple[str, bytes]]:
    """Return all that a thread has."""
    return (await items.read(Span(keys.state(name))))[0]


async def chain(saver: ItemSaver, name: str, number: int, namespace: str = "", **metadata: Any) -> list[str]:
    """Store checkpoints that follow each other; of two channels one changes. Return their ids."""
    config: Any = {"configurable": {"thread_id": name, "checkpoint_ns": namespace}}
    facts: Any = {"source": "loop", **metadata}  # Any: more than upstream's type has
    checkpoint, ids = empty_checkpoint(), []
    fixed = saver.get_next_version(None, None)
    changing = fixed
    for step in range(number):
        checkpoint["id"] = f"1f{len(namespace):02}{step:04}-0000-6000-8000-000000000000"
        changing = saver.get_next_version(changing, None)
        checkpoint["channel_values"] = {"fixed": b"f" * 500, "changing": [step] * 300}
        checkpoint["channel_versions"] = {"fixed": fixed, "changing": changing}
        new: ChannelVersions = checkpoint["channel_versions"] if step == 0 else {"changing": changing}
        facts.update(step=step)
        config = await saver.aput(config, checkpoint, facts, new)
        await saver.aput_writes(config, [("changing", step)], "task")
        ids.append(checkpoint["id"])
    return ids


async def test_an_archived_thread_comes_back_exactly(kept: Retention, saver: ItemSaver, tmp_path: Path) -> None:
    for name in ("t", "other"):
        head = (await chain(saver, name, 3))[-1]
    await chain(saver, "t", 2, "sub:1")
    before, others = await items_of(saver.items, "t"), await items_of(saver.items, "other")
    file, rows = await kept.archive("t", head, tmp_path)
    assert rows == Rows(checkpoints=5, blobs=7, writes=5) == await kept.count("t")
    with pytest.raises(ThreadExists):
        await kept.restore(file)
    await saver.adelete_thread("t")
    assert await kept.present(["t", "other"]) == ["other"]
    assert [found.thread_id for found in await kept.page("", 10, None)] == ["other"]
    assert await kept.restore(file) == ("t", rows)
    assert (await items_of(saver.items, "t"), await items_of(saver.items, "other")) == (before, others)
    assert [found.thread_id for found in await kept.page("", 10, None)] == ["other", "t"]
    assert [found.thread_id for found in await kept.page("other", 10, None)] == ["t"]


async def test_a_file_of_another_backend_or_a_later_release_is_refused(
    kept: Retention, saver: ItemSaver, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = (await chain(saver, "t", 1))[-1]
    file, _ = await kept.archive("t", head, tmp_path)
    url = f"sqlite:///{tmp_path}/threads.db"
    async with open_checkpointer(url, settings=settings) as other:
        with pytest.raises(ArchiveUnknown, match="rows of another backend, in items"):
            await open_retention(url, other).restore(file)
        foreign, _ = await open_retention(url, other).archive("u", "1f0", tmp_path)
    with pytest.raises(ArchiveUnknown, match="rows of another backend"):
        await kept.restore(foreign)
    monkeypatch.setattr(retention, "SCHEMA", 1000)
    later, _ = await kept.archive("t", head, tmp_path / "later")
    monkeypatch.undo()
    with pytest.raises(ArchiveUnknown, match="schema 1000"):
        await kept.restore(later)


async def test_a_thread_that_changed_since_the_decision_is_left(kept: Retention, saver: ItemSaver) -> None:
    *_, head = await chain(saver, "t", 2)
    pending = await items_of(saver.items, "t")
    assert await kept.delete("t", head) is None  # its last task has written, and nothing came of it
    writes = [(keys.state("t"), key) for key, _ in pending if key.startswith("writes") and head in key]
    await saver.items.change(Change(drops=writes))
    rows = await kept.count("t")
    assert await kept.delete("t", "1f000000-0000-6000-8000-000000000000") is None
    assert await kept.delete("t", head, Rows(checkpoints=1)) is None
    assert len(await items_of(saver.items, "t")) == rows.total
    assert await kept.delete("t", head, rows) == rows
    assert await items_of(saver.items, "t") == []
    assert await kept.page("", 10, None) == []


async def test_a_shortened_thread_has_all_that_its_newest_checkpoints_hold(kept: Retention, saver: ItemSaver) -> None:
    *_, head = await chain(saver, "t", 10)
    newest = [found async for found in saver.alist(thread("t"), limit=3)]
    (found,) = await kept.page("", 10, 3)
    assert (found.head, found.long) == (head, True)
    assert (await kept.page("", 10, 10))[0].long is False
    assert await kept.trim("t", 3, dry_run=True) == Rows(checkpoints=7)
    assert (await kept.count("t")).checkpoints == 10
    assert await kept.trim("t", 3) == Rows(checkpoints=7, blobs=7, writes=7)
    left = [found async for found in saver.alist(thread("t"))]
    assert [found.checkpoint for found in left] == [found.checkpoint for found in newest]
    assert [found.pending_writes for found in left] == [found.pending_writes for found in newest]
    assert left[-1].parent_config is None
    assert await kept.trim("t", 3) == Rows()


async def test_the_calls_of_a_root_checkpoint_go_with_it(kept: Retention, saver: ItemSaver) -> None:
    root = await chain(saver, "t", 5)
    await chain(saver, "t", 2, "old:1", parents={"": root[0]})
    await chain(saver, "t", 2, "new:1", parents={"": root[4]})
    await chain(saver, "t", 4, "lasting")
    await kept.trim("t", 2)
    (left,) = await saver.items.read(keys.below(keys.state("t"), "checkpoint", bare=True))
    spaces = [keys.parts(key)[1] for key, _ in left]
    assert {name: spaces.count(name) for name in spaces} == {"": 2, "new:1": 2, "lasting": 2}


async def test_a_state_that_is_spread_over_its_history_is_not_shortened(kept: Retention, saver: ItemSaver) -> None:
    await chain(saver, "t", 5, counters_since_delta_snapshot={"x": 1})
    with pytest.raises(HistoryNeeded):
        await kept.trim("t", 2)


async def test_a_purge_does_with_each_thread_what_the_policy_says(valkey_url: str, tmp_path: Path) -> None:
    settings = AgentSettings(
        _env_file=None,
        database_url=SecretStr(valkey_url),
        data_dir=tmp_path,
        docs=EXAMPLES,
        audit_window_days=30,
        paused_ttl_days=60,
        history_keep=3,
    )
    async with open_runs(settings) as runs:
        for name in ("done", "young"):
            await runs.start(new_input(QUESTION), thread=name)
        await runs.start(new_input(QUESTION, approval=True), thread="waits")
        done = await purged(runs, 40, tmp_path / "kept")
        assert done == {"deleted": 2, "waiting": 1, "trimmed": 1}
        assert [status.thread_id for status in await runs.threads()] == ["waits"]
        for file in (tmp_path / "kept").glob("*.jsonl"):
            assert (await runs.status(await runs.restore(file))).condition == "done"
        assert (await runs.answer("waits", "yes")).condition == "done"
        await runs.start(new_input(QUESTION, approval=True), thread="expires")
        assert (await purged(runs, 70, None))["expired"] == 1


async def purged(runs: Runs, days: float, archive: Path | None) -> dict[str, int]:
    """Purge as in so many days, and return what was done how often."""
    done = await runs.purge(now=datetime.now(UTC) + timedelta(days=days), archive=archive)
    return {str(kind): number for kind, number in done.actions.items()}


async def test_a_foreign_saver_has_no_retention(valkey_url: str, settings: Settings, tmp_path: Path) -> None:
    async with open_checkpointer(f"sqlite:///{tmp_path}/t.db", settings=settings) as other:
        await store(other, "t", found="x")
        with pytest.raises(TypeError, match="has no store"):
            open_retention(valkey_url, other)


async def test_a_thread_whose_newest_checkpoint_is_torn_goes_on_as_a_copy(valkey_url: str, tmp_path: Path) -> None:
    """As after a table was brought back from a moment in the middle of a transaction; the error says what to type."""
    settings = AgentSettings(
        _env_file=None, database_url=SecretStr(valkey_url), data_dir=tmp_path, docs=EXAMPLES, environment="test"
    )
    async with open_runs(settings) as runs:
        assert isinstance(runs.checkpointer, ItemSaver)
        await runs.start(new_input(QUESTION), thread="t")
        newest, before, *_ = [snapshot.config["configurable"]["checkpoint_id"] for snapshot in await runs.history("t")]
        places = [forms.Place("t", "", checkpoint) for checkpoint in (newest, before)]
        items = await runs.checkpointer.items.get([place.key for place in places])
        new, old = [
            set(forms.value_keys(place, item or b"").values()) for place, item in zip(places, items, strict=True)
        ]
        assert new - old
        await runs.checkpointer.items.change(Change(drops=list(new - old)))
        with pytest.raises(ValueUnreadable, match=f"the checkpoint before: acme-agent fork t {before}$"):
            await runs.status("t")
        await runs.fork("t", before, to="u")
        assert (await runs.resume("u")).condition == "done"
