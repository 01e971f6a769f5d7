"""Threads in Amazon DynamoDB: a table that AWS keeps in three places, with a bucket in S3 for what is large.

An item has the partition `p`, the key `k` and the bytes `v`; of more than LARGE bytes it has the name `s` of an object
in the bucket instead, and their digest `d`. The object is stored first, so that no item ever leads to nothing, and it
is never changed. One that is replaced or dropped is deleted afterwards if this process has read the item before, as
who forgets has, and the ledger; else it stays, and so does that of a process which dies in between.

A change is one transaction, which takes 100 items. Of a larger change the values of channels and the lines of the audit
are stored before the transaction, where nothing leads to them yet, and what is only to go, and does no harm where it
is, goes after it. Two transactions that meet at an item cost each other time, so a process makes one at a time of those
that expect something of the same partition, and what announces a change is no part of it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import replace
from itertools import groupby
from uuid import uuid4
from weakref import WeakValueDictionary

from botocore.exceptions import ClientError  # type: ignore[import-untyped] # without stubs
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..errors import ProjectError
from ..settings import Settings
from .dynamodb_changes import LARGE, MOST, apart, condition, stamp, value
from .dynamodb_client import Answer, Client, open_client
from .dynamodb_errors import CANCELLED, FAILED, NameTooLong, code_of, reasons_of
from .dynamodb_facts import facts_of
from .dynamodb_migrate import check
from .dynamodb_reading import Reader, Rounds
from .errors import CheckpointRefused
from .items import Change, ItemSaver, Key, Span
from .items.keys import parts

BATCH = 25  # items that are written at once without a transaction
ANNOUNCED = 1.0  # seconds that a change may take to be announced, which is then made: who does not hear of it looks
LOOK = 0.5  # seconds between two looks for changes of other processes; each costs a read

_REFUSED = {"ValidationException", "ValidationError"}


class TooManyItems(Exception):
    """A transaction would be too large."""

    def __init__(self, number: int) -> None:
        super().__init__(f"{number} items change together, and a transaction takes {MOST}")


class DynamodbItems:
    """See `items`."""

    forgets = False

    def __init__(self, client: Client) -> None:
        """Use a client that is open for as long as the items are."""
        self.where = client.where
        self._client = client
        self._table = {"TableName": client.place.table}
        self._reader = Reader(client)
        self._turns = WeakValueDictionary[str, asyncio.Lock]()
        self._counter = (f"{client.place.prefix}/changes", "n")
        self._own = self._seen = self._count = 0
        self._looking = asyncio.Lock()
        self._looked = 0.0

    def now(self) -> float:
        """Return this machine's time, or that of AWS if this one is wrong by seconds."""
        return time.time() + self._client.ahead

    async def get(self, keys: Sequence[Key]) -> list[bytes | None]:
        """Return items; if some are there and some are not, none of the first went before the others."""
        return await self._reader.get(keys) if keys else []

    async def read(self, *spans: Span) -> list[list[tuple[str, bytes]]]:
        """Return the items of spans; a partition's stamp goes with what was changed together with it."""
        return await self._reader.read(*spans)

    async def change(self, change: Change) -> Key | None:
        """Make a change in one transaction, or a large one as the module says."""
        if change.clears:
            if failed := await self._transact(change, self._operations(Change(expects=change.expects), {})):
                return failed
            for partition in change.clears:
                await self._clear(partition)
            left = {key: item for key, item in change.expects.items() if key[0] not in change.clears}
            change = replace(change, clears=(), expects=left)
        large = [key for key, item in change.puts.items() if len(item) > LARGE]
        names = await asyncio.gather(*(self._client.store(change.puts[key]) for key in large))
        try:
            async with self._turn(change.expects):
                failed = await self._change(change, dict(zip(large, names, strict=True)))
        except (CheckpointRefused, NameTooLong):
            await self._client.forget(names)
            raise
        if failed:
            await self._client.forget(names)
        elif change.announce:
            await self._announce()
        return failed

    async def facts(self) -> list[str]:
        """Return how the table is kept, and how large it is."""
        return await facts_of(self._client)

    @property
    def ticks(self) -> int:
        """Grows with every announced change that this process hears of."""
        return self._own + self._seen

    async def changes(self, since: int, pause: float) -> None:
        """Return when there was an announced change, or after `pause` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + pause
        await self.look()
        while self.ticks == since and loop.time() < deadline:
            await asyncio.sleep(min(LOOK, deadline - loop.time()))
            await self.look()

    async def look(self) -> None:
        """Look whether a change was announced, unless somebody in this process has just looked."""
        loop = asyncio.get_running_loop()
        async with self._looking:
            if loop.time() < self._looked + LOOK / 2:
                return
            key = {"p": {"S": self._counter[0]}, "k": {"S": self._counter[1]}}
            found = (await self._client.table("get_item", **self._table, Key=key, ConsistentRead=True)).get("Item")
            count = int(found["n"]["N"]) if found else 0
            if count != self._count:
                self._count, self._seen = count, self._seen + 1
            self._looked = loop.time()

    async def _announce(self) -> None:
        """Let the others know, or let them find out by themselves: the change is made."""
        self._own += 1
        add = {
            "Key": {"p": {"S": self._counter[0]}, "k": {"S": self._counter[1]}},
            "UpdateExpression": "ADD n :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
            "ReturnValues": "UPDATED_NEW",
        }
        with suppress(ProjectError):
            answer = await self._client.table("update_item", ANNOUNCED, **self._table, **add)
            count = int(answer["Attributes"]["n"]["N"])
            if count == self._count + 1:  # else others have announced something, too
                self._count = count

    async def _change(self, change: Change, objects: dict[Key, str]) -> Key | None:
        operations = self._operations(change, objects)
        ahead, after = apart(change, operations)
        together = {key: operations[key] for key in operations if key not in ahead and key not in after}
        if len(together) > MOST:
            raise CheckpointRefused(_thread(change), TooManyItems(len(together)), "DynamoDB")
        stamp(together)
        await self._write({"PutRequest": {"Item": operations[key]["Put"]["Item"]}} for key in ahead)
        try:
            failed = await self._transact(change, together)
        except CheckpointRefused:
            await self._take_back(ahead, objects)
            raise
        if failed:
            await self._take_back(ahead, objects)
            return failed
        old = self._reader.known([*change.puts, *(key for key in change.drops if key not in after)])
        for key, name in objects.items():
            self._reader.note(key, {"s": {"S": name}})
        await self._client.forget(old)
        await self._drop(after)
        return None

    async def _take_back(self, ahead: Iterable[Key], objects: dict[Key, str]) -> None:
        """Drop what was stored ahead of a change that is not made, but for values that do no harm.

        The lines of an audit would be read; and of a value whose object goes now, the item would lead to nothing.
        """
        some = [key for key in ahead if key in objects or key[0].startswith("audit:")]
        await self._write({"DeleteRequest": {"Key": self._reader.id(key)}} for key in some)

    def _operations(self, change: Change, objects: dict[Key, str]) -> dict[Key, Answer]:
        """Return the parts of a transaction, in the order of the change."""
        found: dict[Key, Answer] = {}
        for key in dict.fromkeys((*change.expects, *change.puts, *change.drops)):
            needs = condition(change.expects[key]) if key in change.expects else {}
            id_ = self._reader.id(key)
            if key in change.puts:
                found[key] = {"Put": {**self._table, "Item": id_ | value(change.puts[key], objects.get(key)), **needs}}
            elif key in change.drops:
                found[key] = {"Delete": {**self._table, "Key": id_, **needs}}
            else:
                found[key] = {"ConditionCheck": {**self._table, "Key": id_, **needs}}
        return found

    async def _transact(self, change: Change, operations: dict[Key, Answer]) -> Key | None:
        """Make a transaction; return the first key whose expectation does not hold. Raises CheckpointRefused."""
        if not operations:
            return None
        items = list(operations.values())
        try:
            await self._client.table("transact_write_items", TransactItems=items, ClientRequestToken=uuid4().hex)
        except ClientError as error:
            reasons = reasons_of(error) if code_of(error) == CANCELLED else [code_of(error)]
            if FAILED in reasons:
                return list(operations)[reasons.index(FAILED)]
            if _REFUSED & set(reasons):
                raise CheckpointRefused(_thread(change), error, "DynamoDB") from error
            raise
        return None

    async def _clear(self, partition: str) -> None:
        """Drop the items of a partition in the order of their keys, and their objects."""
        found = {(partition, item["k"]["S"]): item for item in await self._reader.query(Span(partition, bare=True))}
        objects = {key: item["s"]["S"] for key, item in found.items() if "s" in item}
        await self._drop(found, objects)

    async def _drop(self, keys: Iterable[Key], objects: Mapping[Key, str] | None = None) -> None:
        """Drop items, all of a kind before any of the next one: who is killed in between leaves no kind half gone."""
        for _, kind in groupby(keys, key=lambda key: (key[0], parts(key[1])[0])):
            some = list(kind)
            await self._write({"DeleteRequest": {"Key": self._reader.id(key)}} for key in some)
            known = self._reader.known(some)
            if objects is None:
                await self._client.forget(known)
            else:
                await self._client.forget([objects[key] for key in some if key in objects], must=True)

    async def _write(self, requests: Iterable[Answer]) -> None:
        """Write items that need not be written together."""
        left = list(requests)
        for start in range(0, len(left), BATCH):
            async for round_ in Rounds(self._client, {self._client.place.table: left[start : start + BATCH]}):
                answer = await self._client.table("batch_write_item", RequestItems=round_.requests)
                round_.go_on_with(answer.get("UnprocessedItems") or {}, self._client.place.table)

    @asynccontextmanager
    async def _turn(self, expected: Iterable[Key]) -> AsyncIterator[None]:
        """Wait until no other change of this process expects something of the same partitions."""
        async with AsyncExitStack() as stack:
            for partition in sorted({key[0] for key in expected}):
                await stack.enter_async_context(self._turns.setdefault(partition, asyncio.Lock()))
            yield


@asynccontextmanager
async def open_saver(url: str, settings: Settings, serde: JsonPlusSerializer) -> AsyncIterator[ItemSaver]:
    """Yield a saver over a table and a bucket that can be used.

    Raises DatabaseUnreachable, and what `dynamodb_errors` has.
    """
    async with open_client(url, settings) as client:
        await check(client, settings)
        client.patience = settings.database_patience
        items = DynamodbItems(client)
        await items.look()
        with closing(ItemSaver(items, serde)) as saver:
            yield saver


def _thread(change: Change) -> str:
    partitions = [key[0] for key in (*change.puts, *change.drops, *change.expects)]
    return next((partition.partition(":")[2] for partition in partitions if ":" in partition), "")
