"""What is particular to DynamoDB: large items lie in S3, a change has its limits, a page is read as a whole."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import boto3  # type: ignore[import-untyped] # without stubs
import pytest
from acme_agent.persistence import CheckpointRefused, DatabaseUnreachable, Fence, fenced, open_checkpointer, open_ledger
from acme_agent.persistence.dynamodb import DynamodbItems
from acme_agent.persistence.dynamodb_changes import LARGE
from acme_agent.persistence.dynamodb_client import open_client
from acme_agent.persistence.dynamodb_errors import NameTooLong, ObjectLost
from acme_agent.persistence.dynamodb_url import place_of
from acme_agent.persistence.items import Change, ItemSaver, Span, keys
from acme_agent.persistence.urls import normalise
from acme_agent.settings import Settings
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError  # type: ignore[import-untyped] # without stubs
from langgraph.checkpoint.base import empty_checkpoint

from .conftest import load, store, thread

STATE, RUNS = keys.state("t"), keys.ledger("t")


class Aws:
    """A look into the table and the bucket, past the driver."""

    def __init__(self, url: str) -> None:
        """Connect to the server of a URL."""
        self.place = place_of(url)
        names = ("dynamodb", "s3")
        self.tables, self.bucket = [
            boto3.client(name, region_name=self.place.region, endpoint_url=self.place.endpoint) for name in names
        ]

    def objects(self) -> list[str]:
        """Return the names of this test's objects."""
        found = self.bucket.list_objects_v2(Bucket=self.place.bucket, Prefix=f"{self.place.prefix}/")
        return [entry["Key"] for entry in found.get("Contents", [])]

    def close(self) -> None:
        """Close the connections."""
        self.tables.close()
        self.bucket.close()


@pytest.fixture
def url(dynamodb_url: str) -> str:
    """A table, and a prefix in the bucket, of the test's own."""
    table = place_of(dynamodb_url).table
    return f"{dynamodb_url}&prefix={table}"


@pytest.fixture
def aws(url: str) -> Iterator[Aws]:
    """A look past the driver."""
    found = Aws(url)
    yield found
    found.close()


@asynccontextmanager
async def items_of(url: str, settings: Settings) -> AsyncIterator[DynamodbItems]:
    """Yield the items without what is looked at first."""
    async with open_client(normalise(url), settings) as client:
        yield DynamodbItems(client)


async def test_a_value_of_a_megabyte_lies_in_the_bucket_and_goes_with_its_thread(
    url: str, aws: Aws, settings: Settings
) -> None:
    document = b"d" * 1_000_000
    async with open_checkpointer(url, settings=settings) as saver:
        await store(saver, "t", document=document, title="short")
        assert len(aws.objects()) == 2  # as a channel and as a write
        async with open_checkpointer(url, settings=settings) as other:
            assert (await load(other, "t"))[0] == {"document": document, "title": "short"}
            await other.adelete_thread("t")
        assert await saver.aget_tuple(thread("t")) is None
    assert aws.objects() == []


async def test_a_state_of_five_megabytes_is_stored_and_listed(url: str, settings: Settings) -> None:
    values: dict[str, Any] = {f"channel {number}": bytes([number]) * 500_000 for number in range(10)}
    async with open_checkpointer(url, settings=settings) as saver:
        await store(saver, "t", **values)
        assert await load(saver, "t") == (values, values)
        assert [found.checkpoint["channel_values"] async for found in saver.alist(thread("t"))] == [values]


async def test_a_checkpoint_of_150_values_is_stored(url: str, settings: Settings) -> None:
    values: dict[str, Any] = {f"channel {number}": [number] * 100 for number in range(150)}
    async with open_checkpointer(url, settings=settings) as saver:
        await store(saver, "t", **values)
        assert (await load(saver, "t"))[0] == values


async def test_a_superstep_is_two_transactions_of_what_it_stores_and_its_lease(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part of a transaction is paid for as two writes."""
    async with open_checkpointer(url, settings=settings) as saver:
        assert isinstance(saver, ItemSaver)
        run = await open_ledger(saver).begin("r", "t", {}, holder="me")
        assert run
        real, made = saver.items.change, list[tuple[int, int]]()

        async def change(wanted: Change) -> Any:
            made.append((len(wanted.puts), len(wanted.expects.keys() - wanted.puts.keys())))
            return await real(wanted)

        monkeypatch.setattr(saver.items, "change", change)
        with fenced(Fence(run.run_id, run.attempt, continues=True)):
            config = await saver.aput(thread("t"), empty_checkpoint(), {"source": "input"}, {})
            made.clear()
            await saver.aput_writes(config, [("number", 1)], "task")
            await saver.aput(config, empty_checkpoint(), {"source": "loop"}, {})
    assert made == [(1, 1), (1, 1)]


async def test_what_cannot_be_changed_together_is_refused_as_a_whole(url: str, settings: Settings) -> None:
    async with items_of(url, settings) as items:
        puts = {(RUNS, keys.run(number, "r", active=True)): b"" for number in range(101)}
        with pytest.raises(CheckpointRefused, match=r"DynamoDB refuses .*'t': 101 items .* a transaction takes 100"):
            await items.change(Change(puts=puts))
        for key in ((RUNS, "é" * 513), (keys.state("x" * 2048), "k")):
            with pytest.raises(NameTooLong, match=r"no key of \d+ bytes.* Choose a shorter id for the thread"):
                await items.change(Change(puts={key: b""}))
            with pytest.raises(NameTooLong):
                await items.get([key])
        assert await items.read(Span(RUNS)) == [[]]


async def test_many_items_are_dropped_in_one_change(url: str, settings: Settings) -> None:
    async with items_of(url, settings) as items:
        names = [(RUNS, keys.run(number, "r", active=False)) for number in range(130)]
        for start in (0, 100):
            await items.change(Change(puts=dict.fromkeys(names[start : start + 100], b"over")))
        stamp = (RUNS, keys.STAMP)
        assert await items.change(Change(drops=names, puts={stamp: b"1"}, expects={stamp: None})) is None
        assert await items.read(Span(RUNS)) == [[(keys.STAMP, b"1")]]


async def test_a_change_is_made_only_if_all_holds_that_it_expects(url: str, aws: Aws, settings: Settings) -> None:
    small, large, other, none = ((STATE, name) for name in ("small", "large", "other", "none"))
    async with items_of(url, settings) as items:
        assert await items.change(Change(puts={small: b"1", large: b"x" * LARGE * 2, other: b""})) is None
        before = await items.read(Span(STATE))
        right: dict[Any, bytes | None] = {small: b"1", large: b"x" * LARGE * 2, none: None, other: b""}
        for key, wrong in ((small, b"2"), (small, None), (large, b"y" * LARGE * 2), (none, b""), (other, None)):
            change = Change({small: b"2", none: b"y" * LARGE * 2}, [large], expects={**right, key: wrong})
            assert await items.change(change) == key
            assert await items.read(Span(STATE)) == before
            assert len(aws.objects()) == 1  # what was stored for the change is gone again
        assert await items.change(Change({small: b"2", none: b"new"}, [large], expects=right)) is None
        assert await items.read(Span(STATE)) == [[("none", b"new"), ("other", b""), ("small", b"2")]]
        assert aws.objects() == []


async def test_clearing_a_partition_expects_what_was_in_it(url: str, settings: Settings) -> None:
    lease = (RUNS, keys.lease("r"))
    names = [(STATE, f"{number:03}") for number in range(60)]
    async with items_of(url, settings) as items:
        await items.change(Change(puts={**dict.fromkeys(names, b"v"), lease: b"1"}))
        wrong: dict[Any, bytes | None] = {names[-1]: b"v", lease: b"2"}
        assert await items.change(Change(clears=[STATE], drops=[lease], expects=wrong)) == lease
        assert len((await items.read(Span(STATE)))[0]) == 60
        assert await items.change(Change(clears=[STATE], drops=[lease], expects={**wrong, lease: b"1"})) is None
        assert await items.read(Span(STATE), Span(RUNS)) == [[], []]


async def test_spans_end_before_their_last_key_in_both_directions(url: str, settings: Settings) -> None:
    async with items_of(url, settings) as items:
        await items.change(Change(puts={(STATE, key): key.encode() for key in "abcdé🎈"}))

        async def read(**span: Any) -> str:
            (found,) = await items.read(Span(STATE, **span))
            return "".join(key for key, _ in found)

        assert await read() == "abcdé🎈"
        assert await read(first="b", last="d") == "bc"
        assert await read(last="c") == "ab"
        assert await read(first="d") == "dé🎈"
        assert await read(first="b", last="d", limit=1, backwards=True) == "c"
        assert await read(last="d", limit=2, backwards=True) == "cb"
        assert await read(limit=0) == await read(first="c", last="c") == ""
        assert await items.get([(STATE, "b"), (STATE, "x"), (STATE, "b")]) == [b"b", None, b"b"]


async def test_a_page_is_not_read_before_all_is_there_that_came_with_its_stamp(
    url: str, aws: Aws, settings: Settings
) -> None:
    """A transaction is not seen in one moment; a page that was read in between would be written back."""
    active, over = ((RUNS, keys.run(1, "r", active=active)) for active in (True, False))
    stamp = (RUNS, keys.STAMP)
    spans = (keys.over("t", 20), keys.living("t"))
    async with items_of(url, settings) as items:
        await items.change(Change(puts={active: b"running", stamp: b"1"}))
        old = aws.tables.get_item(TableName=aws.place.table, Key=items._reader.id(active))["Item"]
        await items.change(Change(puts={over: b"done", stamp: b"2"}, drops=[active]))
        new = aws.tables.get_item(TableName=aws.place.table, Key=items._reader.id(over))["Item"]
        aws.tables.put_item(TableName=aws.place.table, Item=old)
        aws.tables.delete_item(TableName=aws.place.table, Key=items._reader.id(over))
        reading = asyncio.create_task(items.read(*spans))
        await asyncio.sleep(0.3)
        assert not reading.done()
        aws.tables.put_item(TableName=aws.place.table, Item=new)
        aws.tables.delete_item(TableName=aws.place.table, Key=items._reader.id(active))
        assert await reading == [[(over[1], b"done")], [(keys.STAMP, b"2")]]


async def test_an_object_that_somebody_deleted_is_named(url: str, aws: Aws, settings: Settings) -> None:
    async with open_checkpointer(url, settings=settings) as saver:
        await store(saver, "t", document=b"d" * LARGE * 2)
        for name in aws.objects():
            aws.bucket.delete_object(Bucket=aws.place.bucket, Key=name)
        with pytest.raises(ObjectLost, match=f"bucket {aws.place.bucket} under {aws.place.prefix}/.* is gone"):
            await saver.aget_tuple(thread("t"))


async def test_another_process_hears_of_an_announced_change(url: str, settings: Settings) -> None:
    async with items_of(url, settings) as one, items_of(url, settings) as other:
        await other.look()
        since = other.ticks
        hearing = asyncio.create_task(other.changes(since, 30))
        await one.change(Change(puts={(STATE, "k"): b""}, announce=True))
        assert one.ticks == 1
        await asyncio.wait_for(hearing, 10)
        assert other.ticks > since
        await asyncio.wait_for(other.changes(other.ticks, 0.1), 5)


def _cancelled(*reasons: str) -> ClientError:
    response = {
        "Error": {"Code": "TransactionCanceledException"},
        "CancellationReasons": [{"Code": r} for r in reasons],
    }
    return ClientError(response, "TransactWriteItems")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (_cancelled("None", "TransactionConflict"), "TransactionConflict"),
        (_cancelled("ThrottlingError"), r"it is throttled \(ThrottlingError\)"),
        (ClientError({"Error": {"Code": "ThrottlingException"}}, "TransactWriteItems"), "it is throttled"),
        (EndpointConnectionError(endpoint_url="http://gone"), "Could not connect"),
        (ReadTimeoutError(endpoint_url="http://slow"), "Read timeout"),
    ],
)
async def test_what_passes_is_waited_out_and_not_for_ever(
    error: Exception, text: str, url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with items_of(url, settings) as items:
        items._client.patience = 1.0
        tables, tokens = items._client._clients.tables, list[str]()
        real = tables.transact_write_items

        def fails(times: float) -> Any:
            def call(**parameters: Any) -> Any:
                tokens.append(parameters["ClientRequestToken"])
                if len(tokens) <= times:
                    raise error
                return real(**parameters)

            return call

        monkeypatch.setattr(tables, "transact_write_items", fails(2))
        assert await items.change(Change(puts={(STATE, "k"): b"v"})) is None
        assert len(tokens) == 3
        assert len(set(tokens)) == 1  # by which DynamoDB knows what it has already done
        monkeypatch.setattr(tables, "transact_write_items", fails(float("inf")))
        with pytest.raises(DatabaseUnreachable, match=f"dynamodb://.*: .*{text}"):
            await items.change(Change(puts={(STATE, "k"): b"v"}))
