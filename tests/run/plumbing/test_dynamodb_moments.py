"""What AWS does and moto does not: half of a transaction is seen, some of a call succeeds, rights come and go."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import boto3  # type: ignore[import-untyped] # without stubs
import pytest
from acme_agent.persistence import CheckpointRefused, dynamodb_reading, open_checkpointer, try_storing
from acme_agent.persistence.dynamodb import DynamodbItems
from acme_agent.persistence.dynamodb_changes import LARGE
from acme_agent.persistence.dynamodb_client import open_client
from acme_agent.persistence.dynamodb_errors import ActionDenied, CredentialsMissing, CredentialsRefused
from acme_agent.persistence.dynamodb_url import place_of
from acme_agent.persistence.items import Change, ItemSaver, Span, keys
from acme_agent.persistence.urls import normalise
from acme_agent.settings import Settings
from botocore.exceptions import ClientError, CredentialRetrievalError  # type: ignore[import-untyped] # without stubs

from .conftest import load, store

STATE, RUNS = keys.state("t"), keys.ledger("t")
STAMP = (RUNS, keys.STAMP)

Call = Callable[..., Any]  # Any: boto3 has no types


@pytest.fixture
def url(dynamodb_url: str) -> str:
    """A table, and a prefix in the bucket, of the test's own."""
    return f"{dynamodb_url}&prefix={place_of(dynamodb_url).table}"


@pytest.fixture
def objects(url: str) -> Iterator[Callable[[], list[str]]]:
    """Return the names of the objects in the bucket."""
    place = place_of(url)
    client = boto3.client("s3", region_name=place.region, endpoint_url=place.endpoint)

    def listed() -> list[str]:
        found = client.list_objects_v2(Bucket=place.bucket, Prefix=f"{place.prefix}/")
        return [entry["Key"] for entry in found.get("Contents", [])]

    yield listed
    client.close()


@asynccontextmanager
async def items_of(url: str, settings: Settings) -> AsyncIterator[DynamodbItems]:
    """Yield the items without what is looked at first."""
    async with open_client(normalise(url), settings) as client:
        yield DynamodbItems(client)


def clients_of(items: Any) -> Any:  # Any: boto3 has no types
    return items._client._clients


def refused(code: str, operation: str = "") -> ClientError:
    return ClientError({"Error": {"Code": code}}, operation)


def fails(monkeypatch: pytest.MonkeyPatch, client: Any, operation: str, error: Exception, times: float) -> list[float]:
    """Let a client's operation raise an error so many times; return the moments of its calls."""
    real, moments = getattr(client, operation), list[float]()

    def call(**parameters: Any) -> Any:
        moments.append(time.monotonic())
        if len(moments) <= times:
            raise error
        return real(**parameters)

    monkeypatch.setattr(client, operation, call)
    return moments


async def test_a_checkpoint_that_is_seen_before_its_values_is_whole(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_checkpointer(url, settings=settings) as saver:
        assert isinstance(saver, ItemSaver)
        await store(saver, "t", document=["d"], other=["o"])
        tables = clients_of(saver.items).tables
        real: Call = tables.batch_get_item

        def without_values(**parameters: Any) -> Any:
            answer = real(**parameters)
            for items in answer["Responses"].values():
                items[:] = [item for item in items if not item["k"]["S"].startswith("value")]
            return answer

        monkeypatch.setattr(tables, "batch_get_item", without_values)
        assert (await load(saver, "t"))[0] == {"document": ["d"], "other": ["o"]}


async def test_a_page_that_stays_half_visible_is_never_taken(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be written back; only what somebody has changed by hand is taken as it is."""
    monkeypatch.setattr(dynamodb_reading, "PAUSE", 0.001)
    active, over = ((RUNS, keys.run(1, "r", active=active)) for active in (True, False))
    async with items_of(url, settings) as items:
        tables = clients_of(items).tables
        real: Call = tables.query
        await items.change(Change(puts={active: b"running", STAMP: b"1"}))
        old = real(**_whole(items))["Items"]
        await items.change(Change(puts={over: b"done", STAMP: b"2"}, drops=[active]))
        looks, still = 0, asyncio.Event()

        def half(**parameters: Any) -> Any:
            nonlocal looks
            looks += 1
            if looks > dynamodb_reading.LOOKS * 3:
                loop.call_soon_threadsafe(still.set)
            answer = real(**parameters)
            stamps = [item for item in answer["Items"] if item["k"]["S"] == keys.STAMP]
            return answer | {"Items": stamps + [item for item in old if item["k"]["S"] == active[1]]}

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(tables, "query", half)
        reading = asyncio.create_task(items.read(Span(RUNS)))
        await asyncio.wait_for(still.wait(), 30)
        assert not reading.done()
        monkeypatch.setattr(tables, "query", real)
        assert await reading == [[(keys.STAMP, b"2"), (over[1], b"done")]]

        tables.delete_item(TableName=place_of(url).table, Key=items._reader.id(over))
        assert await items.read(Span(RUNS)) == [[(keys.STAMP, b"2")]]


def _whole(items: DynamodbItems) -> dict[str, Any]:
    return {
        "TableName": items._client.place.table,
        "KeyConditionExpression": "p = :p",
        "ExpressionAttributeValues": {":p": {"S": items._reader.name(RUNS)}},
    }


async def test_a_large_change_that_is_refused_leaves_no_item_that_leads_to_nothing(
    url: str, settings: Settings, objects: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    puts = {(STATE, keys.value("", f"c{number}", "1")): b"v" * (1 if number else LARGE * 2) for number in range(120)}
    lease = (RUNS, keys.lease("r"))
    async with items_of(url, settings) as items:
        assert await items.change(Change(puts=puts, expects={lease: b"1"})) == lease
        assert objects() == []
        assert len((await items.read(Span(STATE)))[0]) == 119  # these do no harm
        fails(monkeypatch, clients_of(items).tables, "transact_write_items", refused("ValidationException"), 1)
        with pytest.raises(CheckpointRefused):
            await items.change(Change(puts=puts, expects={lease: None}))
        assert objects() == []
        assert len((await items.read(Span(STATE)))[0]) == 119


async def test_what_only_drops_items_is_no_transaction(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [(STATE, f"{number}") for number in range(30)]
    async with items_of(url, settings) as items:
        await items.change(Change(puts=dict.fromkeys(names, b"v")))
        calls = fails(monkeypatch, clients_of(items).tables, "transact_write_items", AssertionError(), float("inf"))
        await items.change(Change(drops=names))
        assert await items.read(Span(STATE)) == [[]]
        assert calls == []


async def test_objects_that_may_not_be_deleted_are_told_to_who_deletes_a_thread(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """S3 answers with a success, and with an error for each of the objects."""
    key = (STATE, "k")
    async with open_checkpointer(url, settings=settings) as saver:
        assert isinstance(saver, ItemSaver)
        answer = {"Errors": [{"Key": "k", "Code": "AccessDenied"}]}
        monkeypatch.setattr(clients_of(saver.items).objects, "delete_objects", lambda **_: answer)
        await saver.items.change(Change(puts={key: b"v" * LARGE * 2}))
        await saver.items.change(Change(puts={key: b"v"}))  # it is replaced, and the step goes on
        assert f"objects of the bucket {place_of(url).bucket} stay: AWS denies s3:DeleteObject" in caplog.text
        await store(saver, "t", document=b"d" * LARGE * 2)
        with pytest.raises(ActionDenied, match="s3:DeleteObject on the bucket"):
            await saver.adelete_thread("t")
        caplog.clear()
        answer["Errors"][0]["Code"] = "InternalError"
        await store(saver, "t", document=b"d" * LARGE * 2)
        await saver.adelete_thread("t")
        assert "stay: InternalError" in caplog.text


@pytest.mark.parametrize("operation", ["put_object", "get_object", "delete_objects"])
async def test_doctor_finds_out_what_may_not_be_done_with_the_bucket(
    operation: str, url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_checkpointer(url, settings=settings) as saver:
        assert isinstance(saver, ItemSaver)
        assert "20 checkpoints at once" in await try_storing(saver)
        action = "".join(word.capitalize() for word in operation.split("_"))
        error = refused("AccessDenied", action)
        fails(monkeypatch, clients_of(saver.items).objects, operation, error, float("inf"))
        with pytest.raises(ActionDenied, match=f"s3:{action}"):
            await try_storing(saver)


RETRIEVAL = CredentialRetrievalError(provider="role", error_msg="no answer")
STILL_OLD = RuntimeError("Credentials were refreshed, but the refreshed credentials are still expired.")


@pytest.mark.parametrize(
    ("error", "told"), [(RETRIEVAL, CredentialsMissing), (STILL_OLD, CredentialsRefused)], ids=["retrieval", "old"]
)
async def test_credentials_that_were_there_are_waited_for(
    error: Exception, told: type, url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (STATE, "k")
    async with items_of(url, settings) as items:
        tables = clients_of(items).tables
        items._client.patience = 1.0
        with monkeypatch.context() as first:
            calls = fails(first, tables, "batch_get_item", error, float("inf"))
            with pytest.raises(told):
                await items.get([key])
            assert len(calls) == 1  # nothing has worked yet: there are none
        await items.get([key])
        calls = fails(monkeypatch, tables, "batch_get_item", error, 2)
        assert await items.get([key]) == [None]
        assert len(calls) == 3
        fails(monkeypatch, tables, "batch_get_item", error, float("inf"))
        with pytest.raises(told):
            await items.get([key])


async def test_an_answer_that_brings_some_of_it_is_not_taken_for_throttling(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS answers with 1 MB of a partition at most, so a large state takes several calls."""
    puts = {(STATE, f"{number}"): b"v" for number in range(8)}
    async with items_of(url, settings) as items:
        await items.change(Change(puts=puts))
        tables, table = clients_of(items).tables, place_of(url).table
        real: Call = tables.batch_get_item

        def one_of_them(**parameters: Any) -> Any:
            time.sleep(0.1)
            first, *rest = parameters["RequestItems"][table]["Keys"]
            answer = real(RequestItems={table: {"Keys": [first], "ConsistentRead": True}})
            return answer | {"UnprocessedKeys": {table: {"Keys": rest, "ConsistentRead": True}} if rest else {}}

        monkeypatch.setattr(tables, "batch_get_item", one_of_them)
        items._client.patience = 0.4
        assert await items.get(list(puts)) == [b"v"] * 8


async def test_what_is_announced_does_not_hold_up_the_change(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's lease lasts for 20 seconds, and the counter of a busy project may be throttled for longer."""
    async with items_of(url, settings) as items:
        items._client.patience = 30.0
        fails(monkeypatch, clients_of(items).tables, "update_item", refused("ThrottlingException"), float("inf"))
        began = time.monotonic()
        assert await items.change(Change(puts={(STATE, "k"): b"v"}, announce=True)) is None
        assert time.monotonic() - began < 10
