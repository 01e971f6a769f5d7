"""What a checkpoint holds comes back as it was, or is refused when it is stored: never something else in its place."""

import dataclasses
import enum
import re
import threading
import traceback
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from acme_agent.persistence import open_checkpointer
from acme_agent.persistence.errors import BadCheckpointType, ValueRefused, ValueUnreadable
from acme_agent.persistence.exact import StrictSerializer
from acme_agent.settings import Settings
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Command, Interrupt, Send
from pydantic import AliasChoices, AliasPath, BaseModel, Field, RootModel, SecretStr

from .conftest import load, store, thread

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
