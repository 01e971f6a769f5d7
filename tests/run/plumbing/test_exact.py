"""What a checkpoint holds comes back as it was, or is refused when it is stored: never something else in its place."""

import asyncio
import dataclasses
import enum
import math
import operator
import re
import threading
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict
from uuid import UUID

import pytest
from acme_agent.persistence import open_checkpointer
from acme_agent.persistence.errors import BadCheckpointType, BadName, ValueRefused, ValueUnreadable
from acme_agent.persistence.exact import StrictSerializer
from acme_agent.persistence.postgres_json import scrubbing
from acme_agent.settings import Settings
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Interrupt, Send, interrupt
from pydantic import AliasChoices, AliasPath, BaseModel, Field, RootModel, SecretStr

pytestmark = pytest.mark.anyio

CANARY = "canary-7f3a"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    YES = "yes"


class Level(enum.IntEnum):
    HIGH = 3


class Tag(str):
    __slots__ = ()


class Book(dict[str, object]):
    pass


class Pair(NamedTuple):
    left: int
    right: object


@dataclasses.dataclass
class Plan:
    steps: Any
    done: bool = False


class Part(BaseModel):
    size: int = 0


class Wheel(Part):
    spokes: int = 9


class Car(BaseModel):
    part: Part = Part()
    anything: Any = None
    name: str = Field("", alias="title")


class Choice(BaseModel):
    name: str = Field("", validation_alias=AliasChoices("first", "second"))


class Inside(BaseModel):
    name: str = Field("", validation_alias=AliasPath("first", "second"))


@dataclasses.dataclass
class Late:
    size: int = dataclasses.field(init=False, default=0)


class Numbers(RootModel[list[int]]):
    pass


class Box:
    def __init__(self) -> None:
        self.secret = CANARY


class Outer:
    class Inner(BaseModel):
        size: int = 1


TYPES = (Colour, Word, Level, Tag, Book, Pair, Plan, Part, Wheel, Car, Choice, Numbers, SecretStr)
EXACT = [
    Colour.RED,
    Word.YES,
    [Level.HIGH],
    Pair(1, Plan([Plan(2)])),
    {"plan": Plan({"a": Part(size=4)})},
    Car(part=Part(size=1)),
    SecretStr("s"),
    {1: "a", (1, "b"): 2, None: 3, 1.5: 4, b"k": 5},
    re.compile("a", re.IGNORECASE),
    NOW,
    {1, 2},
    Path("a/b"),
    Send("node", Plan(1)),
    Interrupt({"question": Plan(1)}, id="i"),
    Command(update={"plan": Plan(1)}, goto="node"),
    [HumanMessage("hi"), AIMessage("x", additional_kwargs={"a": 1}), RemoveMessage(id="1")],
    Document(page_content="x", metadata={"a": 1}),
]
LOST_BY_LANGGRAPH = [
    [Tag("t"), Book(a=[1])],
    Tag("t"),
    Book(a=[1]),
    Car(part=Wheel(size=1), anything=Plan(1), title="t"),
    [Car(anything=[Part(size=3)])],
    Choice(first="x"),
    Numbers([1, 2]),
    {UUID(int=1): 1, date(2026, 1, 2): 2, Colour.RED: 3, Word.YES: 4, Tag("k"): 5},
    dict.fromkeys(["\ud800", "\udfff", "?"], 1),
    Path("a/\udcff"),
    re.compile("a\ud800"),
    [HumanMessage("half \ud800"), AIMessage("x", additional_kwargs={"parsed": Part(size=2)})],
]


class State(TypedDict, total=False):
    value: Any
    log: Annotated[list[str], operator.add]


@pytest.fixture(params=["postgres", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'threads.db'}"
    return str(request.getfixturevalue("database"))


def thread(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}


async def store(saver: BaseCheckpointSaver[str], thread_id: str, **values: Any) -> Any:
    """Store a first checkpoint with these channels, and the same values as writes; return its config."""
    checkpoint = empty_checkpoint()
    checkpoint["v"] = 4
    checkpoint["channel_values"] = values
    checkpoint["channel_versions"] = dict.fromkeys(values, "1")
    config = await saver.aput(thread(thread_id), checkpoint, {"source": "loop", "step": 1}, dict.fromkeys(values, "1"))
    await saver.aput_writes(config, list(values.items()), "task")
    return config


async def load(saver: Any, thread_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a thread's channels and its writes."""
    found = await saver.aget_tuple(thread(thread_id))
    assert found
    return found.checkpoint["channel_values"], {channel: value for _, channel, value in found.pending_writes}


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


async def test_every_class_that_is_named_comes_back(database: str, settings: Settings) -> None:
    async with open_checkpointer(database, settings=settings, types=TYPES) as saver:
        for number, value in enumerate(EXACT + LOST_BY_LANGGRAPH):
            await store(saver, f"t-{number}", top=value, nested=[{"key": value}])
            for channels in await load(saver, f"t-{number}"):
                assert channels["top"] == value
                assert type(channels["top"]) is type(value)
                assert repr(channels["nested"]) == repr([{"key": value}])


@pytest.mark.parametrize("value", EXACT, ids=[f"{number}-{type(value).__name__}" for number, value in enumerate(EXACT)])
def test_langgraphs_serializer_reads_what_ours_wrote_and_the_other_way_round(value: Any) -> None:
    ours, stock = StrictSerializer(TYPES), JsonPlusSerializer(allowed_msgpack_modules=TYPES)
    assert repr(stock.loads_typed(ours.dumps_typed([value]))) == repr([value])
    assert repr(ours.loads_typed(stock.dumps_typed([value]))) == repr([value])


def cycle() -> list[Any]:
    itself: list[Any] = []
    itself.append(itself)
    return itself


def local() -> object:
    @dataclasses.dataclass
    class Local:
        size: int = 0

    return Local()


REFUSED = [
    (Plan(CANARY), "checkpoint_types = (..., {module}.Plan)"),
    ([{"deep": (Plan(CANARY),)}], "checkpoint_types = (..., {module}.Plan)"),
    (Pair(1, CANARY), "checkpoint_types = (..., {module}.Pair)"),
    (Colour.RED, "checkpoint_types = (..., {module}.Colour)"),
    (SecretStr(CANARY), "checkpoint_types = (..., pydantic.types.SecretStr)"),
    ([HumanMessage(CANARY, additional_kwargs={"x": Plan(1)})], "checkpoint_types = (..., {module}.Plan)"),
    (Interrupt(Plan(CANARY), id="i"), "checkpoint_types = (..., {module}.Plan)"),
    (Send("node", Plan(CANARY)), "checkpoint_types = (..., {module}.Plan)"),
    ({Colour.RED: 1}, "checkpoint_types = (..., {module}.Colour)"),
    (Outer.Inner(), "move the class to the top level"),
    (local(), "inside a function"),
    (Late(), "Store a dictionary of its fields"),
    (Inside(), "Store a dictionary of its fields"),
    (Box(), "Store a dictionary of its fields"),
    (threading.Lock(), "Keep it out of the state"),
    (lambda: CANARY, "Keep it out of the state"),
    ((item for item in [CANARY]), "Keep it out of the state"),
    ([ValueError(CANARY)], "str(error)"),
    (ValueError(CANARY), "str(error)"),
    ([2**70], "str(number)"),
    (cycle(), "flatter"),
    ({frozenset([1]): 1}, "list of pairs"),
]


async def test_what_would_not_come_back_is_refused_by_name_and_without_its_value(url: str, settings: Settings) -> None:
    async with open_checkpointer(url, settings=settings) as saver:
        for value, remedy in REFUSED:
            with pytest.raises(ValueRefused) as caught:
                await store(saver, "t-1", fine=1, wrong=value)
            text = str(caught.value)
            assert remedy.format(module=__name__) in text
            assert text.startswith(
                "Channel 'wrong' of thread 't-1'" if url.startswith("postgres") else "Channel 'wrong'"
            )
            assert CANARY not in "".join(traceback.format_exception(caught.value))
        assert not [found async for found in saver.alist(None)]


def test_an_object_that_holds_itself_is_refused_soon() -> None:
    plan = Plan(None)
    plan.steps = [plan]
    with pytest.raises(ValueRefused, match="flatter"):
        StrictSerializer([Plan]).dumps_typed(plan)


@pytest.mark.parametrize("wrong", [Outer.Inner, type(local()), "Plan"], ids=["nested", "local", "no class"])
async def test_a_type_that_no_checkpoint_can_name_is_refused_at_the_start(
    wrong: Any, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(BadCheckpointType, match="checkpoint_types"):
        async with open_checkpointer(f"sqlite:///{tmp_path / 'threads.db'}", settings=settings, types=[wrong]):
            pass


def graph(node: Any, saver: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("first", lambda _: {"log": ["first"]})
    builder.add_node("node", node)
    builder.add_edge(START, "first")
    builder.add_edge("first", "node")
    builder.add_edge("node", END)
    return builder.compile(checkpointer=saver)


async def test_a_run_stops_at_the_superstep_whose_value_would_not_come_back_and_goes_on_when_it_is_named(
    url: str, settings: Settings
) -> None:
    config = {"configurable": {"thread_id": "t-1"}}
    async with open_checkpointer(url, settings=settings) as saver:
        runs = graph(lambda _: {"value": Plan(["a"])}, saver)
        with pytest.raises(ValueRefused, match=r"checkpoint_types = \(\.\.\., .*\.Plan\)"):
            await runs.ainvoke({"log": []}, config, durability="sync")
        assert (await runs.aget_state(config)).next == ("node",)
    async with open_checkpointer(url, settings=settings, types=[Plan]) as saver:
        runs = graph(lambda _: {"value": Plan(["a"])}, saver)
        await runs.ainvoke(None, config, durability="sync")
        assert (await runs.aget_state(config)).values == {"value": Plan(["a"]), "log": ["first"]}


async def test_a_question_with_an_unknown_class_is_refused_when_it_is_asked(database: str, settings: Settings) -> None:
    config = {"configurable": {"thread_id": "t-1"}}
    async with open_checkpointer(database, settings=settings) as saver:
        with pytest.raises(ValueRefused, match=r"'__interrupt__' of thread 't-1' .*\.Plan\)"):
            await graph(lambda _: {"value": interrupt(Plan(1))}, saver).ainvoke({"log": []}, config, durability="sync")


async def test_the_error_of_a_node_is_kept_as_text(database: str, settings: Settings) -> None:
    def fail(_: State) -> State:
        raise ZeroDivisionError("by zero")

    config = {"configurable": {"thread_id": "t-1"}}
    async with open_checkpointer(database, settings=settings) as saver:
        with pytest.raises(ZeroDivisionError):
            await graph(fail, saver).ainvoke({"log": []}, config, durability="sync")
        found = await saver.aget_tuple(thread("t-1"))
    assert found
    assert [value for _, channel, value in found.pending_writes or [] if channel == "__error__"] == [
        "ZeroDivisionError('by zero')"
    ]


async def test_a_value_whose_class_is_not_named_any_more_is_an_error_and_no_dictionary(
    database: str, settings: Settings
) -> None:
    async with open_checkpointer(database, settings=settings, types=[Plan]) as saver:
        await store(saver, "t-1", plan=[Plan(CANARY)])
    async with open_checkpointer(database, settings=settings) as saver:
        with pytest.raises(
            ValueUnreadable, match=r"Channel 'plan' of thread 't-1'.*types = \(\.\.\., .*\.Plan\)"
        ) as caught:
            await saver.aget_tuple(thread("t-1"))
    assert CANARY not in str(caught.value)


async def test_a_class_that_went_away_or_changed_is_an_error(
    database: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_checkpointer(database, settings=settings, types=[Plan]) as saver:
        await store(saver, "t-1", plan=Plan(1))
        with monkeypatch.context() as patch:
            patch.setattr(f"{__name__}.Plan", lambda: None)
            with pytest.raises(ValueUnreadable, match="no longer accepts"):
                await saver.aget_tuple(thread("t-1"))
        with monkeypatch.context() as patch:
            patch.delattr(f"{__name__}.Plan")
            with pytest.raises(ValueUnreadable, match="Keep the name Plan in the module"):
                await saver.aget_tuple(thread("t-1"))
        assert (await load(saver, "t-1"))[0] == {"plan": Plan(1)}


async def test_derived_plain_values_come_back_plain_and_that_is_said_once(
    database: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    class Quiet(str):
        __slots__ = ()

    values: dict[str, Any] = {
        "word": Word.YES,
        "level": Level.HIGH,
        "quiet": Quiet("q"),
        "nested": [Quiet("q"), Word.YES],
    }
    async with open_checkpointer(database, settings=settings) as saver:
        await store(saver, "t-1", **values)
    async with open_checkpointer(database, settings=settings) as saver:
        await store(saver, "t-2", **values)
        channels, _ = await load(saver, "t-2")
    assert repr(channels) == repr({"word": "yes", "level": 3, "quiet": "q", "nested": ["q", "yes"]})
    assert sum("Quiet come back as str" in record.message for record in caplog.records) == 1


async def test_a_model_that_its_own_annotations_restore_needs_no_more_names(settings: Settings, database: str) -> None:
    async with open_checkpointer(database, settings=settings, types=[Car]) as saver:
        await store(saver, "t", car=Car(part=Part(size=3)))
        assert (await load(saver, "t"))[0] == {"car": Car(part=Part(size=3))}
        with pytest.raises(ValueRefused, match=r"\.Wheel\)"):  # the annotation would make a Part of it
            await store(saver, "u", car=Car(part=Wheel(size=3)))


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


async def test_a_long_text_that_langgraphs_saver_stored_survives_our_next_checkpoints(
    database: str, settings: Settings
) -> None:
    config: Any = {"configurable": {"thread_id": "t-1"}}
    text = "x" * 2000
    async with AsyncPostgresSaver.from_conn_string(database) as stock:
        runs = graph(lambda _: {"value": interrupt("go on?")}, stock)
        await runs.ainvoke({"log": [], "value": text}, config, durability="sync")
    async with open_checkpointer(database, settings=settings) as saver:
        await graph(lambda _: {"log": [interrupt("go on?")]}, saver).ainvoke(
            Command(resume="y"), config, durability="sync"
        )
        assert (await load(saver, "t-1"))[0]["value"] == text
    async with AsyncPostgresSaver.from_conn_string(database) as stock:
        assert (await load(stock, "t-1"))[0]["value"] == text


async def test_a_text_of_5_mb_is_sent_once_and_holds_nobody_up(database: str, settings: Settings) -> None:
    text = "0123456789abcdef\0" * (5_000_000 // 17)
    config: Any = {"configurable": {"thread_id": "t-1"}}
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)

    for value in (text, text.replace("\0", "-")):
        async with open_checkpointer(database, settings=settings) as saver:
            builder = StateGraph(State)
            names = ["write", "a", "b", "c", "d"]
            builder.add_sequence([(name, lambda _: {"log": ["x"]}) for name in names])
            builder.add_edge(START, "write")
            runs: Any = builder.compile(checkpointer=saver)
            heart = asyncio.create_task(beat())
            await runs.ainvoke({"log": [], "value": value}, config, durability="sync")
            heart.cancel()
            sent = saver.figures.bytes  # type: ignore[attr-defined] # of ours
            assert (await runs.aget_state(config)).values["value"] == value
        assert len(value) < sent < 3.5 * len(value)  # the input as __start__ and as itself
    assert longest < 1.0
