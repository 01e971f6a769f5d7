"""What PostgreSQL's JSONB refuses or changes is kept all the same; only metadata is scrubbed, and names are refused."""

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest
from acme_agent.persistence import open_checkpointer
from acme_agent.persistence.errors import BadName
from acme_agent.persistence.postgres_json import scrubbing
from acme_agent.settings import Settings
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from .conftest import load, store, thread

pytestmark = pytest.mark.anyio


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same types, nan and -0.0 included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def scrubbed(value: Any) -> Any:
    """Return JSON data as LangGraph's own saver reads it: a question mark for each lone surrogate."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [scrubbed(item) for item in value]
    if isinstance(value, dict):
        clean = {scrubbed(key): scrubbed(item) for key, item in value.items()}
        return clean if len(clean) == len(value) else None
    return value


any_text = st.text(st.characters(exclude_categories=()), max_size=20)
json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Return a runner that keeps one event loop for all examples of a property."""
    with asyncio.Runner() as running:
        yield running


async def _open(context: Any) -> Any:
    return await context.__aenter__()


def test_any_text_and_number_survives_and_langgraphs_saver_reads_the_same(
    database: str, settings: Settings, runner: asyncio.Runner
) -> None:
    context, stock_context = (
        open_checkpointer(database, settings=settings),
        AsyncPostgresSaver.from_conn_string(database),
    )
    saver, stock = runner.run(_open(context)), runner.run(_open(stock_context))
    numbers = iter(range(10**6))

    @example([-0.0, math.nan, math.inf, -math.inf, 1e22, 5e-324, "\0", "\ud800", "\\u0000", {"\udfff": "\U0001f600"}])
    @example(-0.0)
    @example(math.inf)
    @example(1e22)
    @example("\0")
    @example("\ud800")
    @example("\ud83d\ude00 in two halves")
    @example("\U0001f600" * 1001)
    @given(json_like)
    @hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    def survives(value: Any) -> None:
        name = f"thread-{next(numbers)}"
        nested = [value, {"key": value}]
        runner.run(store(saver, name, top=value, nested=nested))
        for channels in runner.run(load(saver, name)):
            assert same(channels["top"], value)
            assert same(channels["nested"], nested)
        if (clean := scrubbed([value])) is not None:
            for channels in runner.run(load(stock, name)):
                assert "None" in repr(clean) or same(channels["top"], clean[0])

    try:
        survives()
    finally:
        runner.run(context.__aexit__(None, None, None))
        runner.run(stock_context.__aexit__(None, None, None))


async def test_metadata_survives_characters_and_numbers_that_jsonb_refuses(
    database: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    metadata: Any = {
        "source": "loop",
        "step": 1,
        "half": "a\ud800",
        "score": math.nan,
        "deep": {"k\0": [math.inf, "b\0"]},
    }
    before = scrubbing.texts
    async with open_checkpointer(database, settings=settings) as saver:
        config: Any = {"configurable": {"thread_id": "t-1", "checkpoint_ns": "", "user": "c\0d"}}
        await saver.aput(config, empty_checkpoint(), metadata, {})
        await saver.aput(config, empty_checkpoint(), metadata, {})
        found = [found async for found in saver.alist(None, filter={"score": math.nan, "deep": {"k?": [math.inf]}})]
        assert not [found async for found in saver.alist(None, filter={"score": math.inf})]
    assert len(found) == 2
    stored: Any = found[0].metadata
    assert (stored["half"], stored["deep"], stored["user"]) == ("a?", {"k?": [math.inf, "b?"]}, "cd")
    assert math.isnan(stored["score"])
    assert scrubbing.texts - before == 8
    assert sum("'t-1'" in record.message for record in caplog.records) == 1


async def test_numbers_in_metadata_that_json_has_no_word_for_survive(database: str, settings: Settings) -> None:
    """Without any odd text, which would be looked through for them as well."""
    metadata: Any = {"source": "loop", "step": 1, "score": math.inf, "deep": {"scores": [-math.inf, 1.5]}}
    async with open_checkpointer(database, settings=settings) as saver:
        await saver.aput(thread("t-1"), empty_checkpoint(), metadata, {})
        found = await saver.aget_tuple(thread("t-1"))
    assert found
    assert {name: found.metadata.get(name) for name in metadata} == metadata


@pytest.mark.parametrize("odd", ["a\0b", "a\ud800b"], ids=["NUL", "surrogate"])
async def test_a_name_that_postgresql_cannot_hold_is_an_error_and_an_emoji_is_none(
    odd: str, database: str, settings: Settings
) -> None:
    async with open_checkpointer(database, settings=settings) as saver:
        with pytest.raises(BadName, match="thread_id"):
            await store(saver, odd, value=1)
        with pytest.raises(BadName, match="thread_id"):
            await saver.aget_tuple(thread(odd))
        with pytest.raises(BadName, match="thread_id"):
            [found async for found in saver.alist(thread(odd))]
        for value in (1, [1]):
            with pytest.raises(BadName, match="channel"):
                await store(saver, "t-1", **{odd: value})
        with pytest.raises(BadName, match="channel"):
            await store(saver, "t-1", **{"a\\b": [1]})
        await store(saver, "t-\U0001f600", **{"v\U0001f600": ["\\u0000"]})
        await saver.aput_writes(await store(saver, "t-2", v=1), [("v", 2)], "another", f"path {odd}")
        assert (await load(saver, "t-\U0001f600"))[0] == {"v\U0001f600": ["\\u0000"]}
