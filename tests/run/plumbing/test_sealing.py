"""With a key, the database holds nothing that can be read, and nothing that was changed is believed."""

import base64
import operator
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import psycopg
import pytest
from acme_agent.persistence import open_checkpointer, open_retention
from acme_agent.persistence.errors import (
    NotSealed,
    SealBroken,
    SealedElsewhere,
    SealingImpossible,
)
from acme_agent.persistence.postgres_sealing import Sealing
from acme_agent.settings import Settings
from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Send, interrupt

pytestmark = pytest.mark.anyio

CANARY = "canary-9c2e"
NUMBER = 7700117700.25
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def keyed(settings: Settings, key: str, **more: Any) -> Settings:
    """Return the settings with a key."""
    return Settings(_env_file=None, data_dir=settings.data_dir, database_pool_max=4, checkpoint_key=key, **more)


class Inner(TypedDict, total=False):
    inner: str


class State(TypedDict, total=False):
    text: str
    number: float
    flag: bool
    nothing: None
    items: Annotated[list[str], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]
    inner: str


def build(saver: Any) -> Any:
    """Return a graph with every kind of write: scalars, lists, a Send, a sub-graph, a question."""
    sub = StateGraph(Inner)
    sub.add_node("deep", lambda _: {"inner": f"{CANARY}-sub"})
    sub.add_edge(START, "deep")
    builder = StateGraph(State)
    builder.add_node(
        "scalars",
        lambda _: {
            "text": f"{CANARY}-text",
            "number": NUMBER,
            "flag": True,
            "nothing": None,
            "items": [f"{CANARY}-item"],
        },
    )
    builder.add_node("sent", lambda arg: {"messages": [HumanMessage(f"{CANARY}-{arg['word']}")]})
    builder.add_node("sub", sub.compile())
    builder.add_node("ask", lambda _: {"text": interrupt({"question": f"{CANARY}-question"})})
    builder.add_node("wait", lambda _: {"text": interrupt(f"{CANARY}-second")})
    builder.add_edge(START, "scalars")
    builder.add_conditional_edges("scalars", lambda _: [Send("sent", {"word": f"{CANARY}-send"})], ["sent"])
    builder.add_edge("sent", "sub")
    builder.add_edge("sub", "ask")
    builder.add_edge("ask", "wait")
    builder.add_edge("wait", END)
    return builder.compile(checkpointer=saver)


def config(thread: str = "t-1") -> Any:
    return {"configurable": {"thread_id": thread, "user": f"{CANARY}-user"}, "metadata": {"mail": f"{CANARY}-mail"}}


async def run_to_the_question(url: str, settings: Settings, thread: str = "t-1") -> None:
    """Run to the second question: its answer to the first one is a pending write before that."""
    async with open_checkpointer(url, settings=settings) as saver:
        graph = build(saver)
        await graph.ainvoke({"text": f"{CANARY}-input", "items": []}, config(thread), durability="sync")
        await graph.ainvoke(Command(resume=f"{CANARY}-answer"), config(thread), durability="sync")


async def read(url: str, settings: Settings, thread: str = "t-1") -> Any:
    """Return the thread's state, after a look at its whole history."""
    async with open_checkpointer(url, settings=settings) as saver:
        assert [found async for found in saver.alist(config(thread))]
        return await build(saver).aget_state(config(thread))


def do(url: str, statement: str, *values: Any) -> None:
    """Change the database behind the program's back, by one statement that must find something."""
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute(statement, values).rowcount, "nothing was changed"


def everything(url: str) -> bytes:
    """Return all that the database holds: each row as text, and each column of bytes as it is."""
    found = []
    with psycopg.connect(url) as connection:
        for table in TABLES:
            found += [row[0].encode() for row in connection.execute(f"SELECT t::text FROM {table} AS t")]
        for table in TABLES[1:]:
            found += [row[0] or b"" for row in connection.execute(f"SELECT blob FROM {table}")]
    return b"\n".join(found)


async def test_no_value_can_be_read_in_the_database(
    make_database: Callable[..., str], template: str, settings: Settings
) -> None:
    hidden = [b"text", b"item", b"send", b"sub", b"question", b"second", b"answer", b"input", b"user", b"mail"]
    for key in ("", new_key()):
        url = make_database(template)
        await run_to_the_question(url, keyed(settings, key))
        content = everything(url)
        for name in hidden:
            assert (f"{CANARY}-{name.decode()}".encode() in content) is (not key)
        assert (str(NUMBER).encode() in content) is (not key)
        assert (CANARY.encode() in content) is (not key)
        assert (CANARY.encode().hex().encode() in content) is (not key)


async def test_a_sealed_thread_is_read_and_goes_on(database: str, settings: Settings) -> None:
    sealed = keyed(settings, new_key())
    await run_to_the_question(database, sealed)
    state = await read(database, sealed)
    assert (state.values["text"], state.values["number"], state.values["flag"]) == (f"{CANARY}-answer", NUMBER, True)
    assert state.values["messages"][0].content == f"{CANARY}-{CANARY}-send"
    assert state.tasks[0].interrupts[0].value == f"{CANARY}-second"
    assert (state.metadata["user"], state.metadata["mail"]) == (f"{CANARY}-user", f"{CANARY}-mail")
    async with open_checkpointer(database, settings=sealed) as saver:
        result = await build(saver).ainvoke(Command(resume="end"), config(), durability="sync")
        assert result["text"] == "end"
        assert [found async for found in saver.alist(config(), filter={"source": "input"})]
        with pytest.raises(SealingImpossible, match="found by mail"):
            [found async for found in saver.alist(config(), filter={"mail": "x"})]


NEWEST = "(SELECT max(checkpoint_id) FROM checkpoints WHERE checkpoint_ns = '')"
TAMPERED = {
    "a byte of a channel": (
        "UPDATE checkpoint_blobs SET blob = set_byte(blob, 20, get_byte(blob, 20) # 1) WHERE checkpoint_ns = ''"
    ),
    "a channel cut short": "UPDATE checkpoint_blobs SET blob = substr(blob, 1, 5) WHERE checkpoint_ns = ''",
    "two channels swapped": """
        UPDATE checkpoint_blobs AS one SET blob = other.blob FROM checkpoint_blobs AS other
        WHERE one.channel = 'text' AND other.channel = 'items' AND one.checkpoint_ns = '' AND other.checkpoint_ns = ''
    """,
    "an older value": """
        UPDATE checkpoint_blobs AS one SET blob = other.blob FROM checkpoint_blobs AS other
        WHERE one.channel = 'text' AND other.channel = 'text' AND other.version < one.version
    """,
    "another thread's value": """
        UPDATE checkpoint_blobs AS one SET blob = other.blob FROM checkpoint_blobs AS other
        WHERE one.thread_id = 't-1' AND other.thread_id = 't-2' AND one.channel = 'text' AND other.channel = 'text'
    """,
    "a channel deleted": "DELETE FROM checkpoint_blobs WHERE channel = 'text'",
    "a version in the checkpoint": f"""
        UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{{channel_versions,text}}', to_jsonb((
            SELECT min(version) FROM checkpoint_blobs WHERE channel = 'text' AND thread_id = 't-1')))
        WHERE checkpoint_id = {NEWEST}
    """,
    "what the nodes have seen": "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{versions_seen}', '{}')",
    "a value put inline": """
        UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values,text}', '"forged"')
    """,
    "metadata in the clear": "UPDATE checkpoints SET metadata = jsonb_set(metadata, '{step}', '99')",
    "metadata without its seal": "UPDATE checkpoints SET metadata = metadata - 'sealed'",
    "metadata of another checkpoint": """
        UPDATE checkpoints AS one SET metadata = other.metadata FROM checkpoints AS other
        WHERE one.checkpoint_id > other.checkpoint_id AND one.thread_id = 't-1' AND other.thread_id = 't-1'
    """,
    "a pending write's channel": "UPDATE checkpoint_writes SET channel = 'text' WHERE channel = '__interrupt__'",
    "a pending write's task": "UPDATE checkpoint_writes SET task_id = 'forged' WHERE channel = '__interrupt__'",
    "a pending write's value": "UPDATE checkpoint_writes SET blob = '\\x00'::bytea WHERE channel = '__interrupt__'",
    "a checkpoint renamed": f"""
        UPDATE checkpoints SET checkpoint_id = 'ffffffff-0000-6000-8000-000000000000' WHERE checkpoint_id = {NEWEST}
    """,
    "plain values in a row": r"""
        UPDATE checkpoint_blobs SET type = 'msgpack', blob = '\xa6666f72676564' WHERE channel = 'text'
    """,
}


@pytest.mark.parametrize("statement", TAMPERED.values(), ids=TAMPERED.keys())
async def test_a_row_that_was_changed_is_not_believed(statement: str, database: str, settings: Settings) -> None:
    sealed = keyed(settings, new_key())
    for thread in ("t-2", "t-1"):
        await run_to_the_question(database, sealed, thread)
    do(database, statement)
    with pytest.raises((SealBroken, NotSealed), match="t-1") as caught:
        await read(database, sealed)
    assert CANARY not in str(caught.value)


async def test_a_thread_cannot_be_passed_off_as_another(database: str, settings: Settings) -> None:
    sealed = keyed(settings, new_key())
    await run_to_the_question(database, sealed)
    for table in TABLES:
        do(database, f"UPDATE {table} SET thread_id = 't-9'")
    with pytest.raises(SealBroken, match="t-9"):
        await read(database, sealed, "t-9")


def test_each_thread_has_a_key_of_its_own() -> None:
    sealing, place = Sealing([secrets.token_bytes(32)]), ("checkpoint_blobs", "t-1", "", "channel", "1")
    kind, sealed = sealing.seal("t-1", place, "msgpack", b"value")
    assert sealing.open("t-1", place, kind, sealed) == ("msgpack", b"value")
    with pytest.raises(SealBroken):
        sealing.open("t-2", place, kind, sealed)


async def test_a_wrong_or_missing_key_is_named_by_its_id(database: str, settings: Settings) -> None:
    key, other = new_key(), new_key()
    await run_to_the_question(database, keyed(settings, key))
    for wrong in (keyed(settings, other), settings):
        with pytest.raises(SealedElsewhere, match="t-1") as caught:
            await read(database, wrong)
        text = str(caught.value)
        assert ("is not set" in text) is (wrong is settings)
        assert key not in text
        assert other not in text
    assert key not in repr(keyed(settings, key))


async def test_keys_are_replaced_while_threads_live(database: str, settings: Settings) -> None:
    first, second, third = new_key(), new_key(), new_key()
    await run_to_the_question(database, keyed(settings, first))
    both = keyed(settings, second, checkpoint_key_old=first)
    assert (await read(database, both)).values["text"] == f"{CANARY}-answer"
    await run_to_the_question(database, both, "t-2")
    await read(database, keyed(settings, second), "t-2")
    with pytest.raises(SealedElsewhere):
        await read(database, keyed(settings, second), "t-1")
    all_three = keyed(settings, third, checkpoint_key_old=f"{second}, {first}")
    for thread in ("t-1", "t-2"):
        await read(database, all_three, thread)


async def test_threads_from_before_the_key_are_read_when_that_is_allowed(database: str, settings: Settings) -> None:
    await run_to_the_question(database, settings)
    key = new_key()
    with pytest.raises(NotSealed, match="CHECKPOINT_PLAINTEXT"):
        await read(database, keyed(settings, key))
    moving = keyed(settings, key, checkpoint_plaintext="read")
    async with open_checkpointer(database, settings=moving) as saver:
        await build(saver).ainvoke(Command(resume=f"{CANARY}-new"), config(), durability="sync")
    state = await read(database, moving)
    assert (state.values["text"], state.values["number"], state.values["flag"]) == (f"{CANARY}-new", NUMBER, True)
    assert f"{CANARY}-new".encode() not in everything(database)
    with psycopg.connect(database) as connection:
        newest = connection.execute(
            f"SELECT checkpoint -> 'channel_values' FROM checkpoints WHERE checkpoint_id = {NEWEST}"
        )
        assert newest.fetchone() == ({},)


async def test_pruned_and_archived_threads_keep_their_seals(database: str, settings: Settings, tmp_path: Path) -> None:
    sealed = keyed(settings, new_key())
    await run_to_the_question(database, sealed)
    async with open_checkpointer(database, settings=sealed) as saver:
        retention = open_retention(database, saver)
        before = await build(saver).aget_state(config())
        assert (await retention.trim("t-1", 1)).checkpoints  # type: ignore[union-attr] # nothing is in the way
        head = before.config["configurable"]["checkpoint_id"]
        file, rows = await retention.archive("t-1", head, tmp_path)
        assert CANARY not in file.read_text()
        await saver.adelete_thread("t-1")
        assert (await retention.restore(file))[1] == rows
    after = await read(database, sealed)
    assert (after.values, after.tasks) == (before.values, before.tasks)


@pytest.mark.filterwarnings("ignore:.*[Dd]elta:")
async def test_a_delta_channel_does_not_pretend_to_be_sealed(database: str, settings: Settings) -> None:
    class Delta(TypedDict):
        items: Annotated[list[str], DeltaChannel(operator.add)]

    async with open_checkpointer(database, settings=keyed(settings, new_key())) as saver:
        builder = StateGraph(Delta)
        builder.add_node("node", lambda _: {"items": ["x"]})
        builder.add_edge(START, "node")
        with pytest.raises(SealingImpossible, match="DeltaChannel"):
            await builder.compile(checkpointer=saver).ainvoke({"items": ["a"]}, config(), durability="sync")
    assert CANARY.encode() not in everything(database)
