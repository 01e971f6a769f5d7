"""What is read of a table: items by their keys, and spans of a partition, with what lies in the bucket.

What a transaction changes is not seen in one moment: a reader may find one item as it was before, and one as it is
after. A ledger's page must not be read so, for it would be written back so. Hence its stamp says with which change it
was stored and what else that has changed in the partition, and who finds something else looks once more. A transaction
that reads is one moment: it is asked where the others' looks do not tell what is gone from what is not there yet.
"""

import asyncio
import random
from collections.abc import Iterable, Sequence
from typing import Any

from .dynamodb_client import Answer, Client
from .dynamodb_errors import NameTooLong, ObjectLost
from .errors import DatabaseUnreachable
from .items import Key, Span
from .items.items import END
from .items.keys import STAMP

LONGEST_PARTITION, LONGEST_KEY = 2048, 1024  # bytes
GOT = 100  # items that DynamoDB gets at once
REMEMBERED = 10_000  # items in the bucket, of those that were read last
LOOKS = 20  # at a page, before a transaction tells whether somebody has changed it by hand
PAUSE = 0.05  # seconds between two of them, about


class Reader:
    """Reads. All reads are strongly consistent: what was changed is seen by each that begins after that."""

    def __init__(self, client: Client) -> None:
        """Use a client that is open."""
        self._client = client
        self._objects: dict[Key, str] = {}

    def name(self, partition: str) -> str:
        """Return the table's name for a partition. Raises NameTooLong."""
        return self._checked(f"{self._client.place.prefix}/{partition}", LONGEST_PARTITION)

    def id(self, key: Key) -> Answer:
        """Return a key as the table has it. Raises NameTooLong."""
        return {"p": {"S": self.name(key[0])}, "k": {"S": self._checked(key[1], LONGEST_KEY)}}

    def known(self, keys: Iterable[Key]) -> list[str]:
        """Return, and forget, the objects of these items, as far as the items were read or noted."""
        return [name for key in keys if (name := self._objects.pop(key, None))]

    def note(self, key: Key, item: Answer) -> None:
        """Remember whether an item lies in the bucket, and where."""
        self._objects.pop(key, None)
        if "s" in item:
            self._objects[key] = item["s"]["S"]
            if len(self._objects) > REMEMBERED:
                del self._objects[next(iter(self._objects))]

    async def get(self, keys: Sequence[Key]) -> list[bytes | None]:
        """Return items, None for those that are not there; an object that is gone has gone with its item."""
        wanted, lost = list(dict.fromkeys(keys)), set[str]()
        while True:
            found = await self._fetched(wanted)
            if 0 < len(found) < len(wanted):  # the others are perhaps not there yet
                found |= await self._snapshot([key for key in wanted if key not in found])
            if 0 < len(found) < len(wanted):  # what is there was perhaps read before the others went
                found = await self._fetched(list(found))
            objects = await self._loaded(found.values(), lost)
            if objects is not None:
                items = {key: _bytes(item, objects) for key, item in found.items()}
                return [items.get(key) for key in keys]

    async def read(self, *spans: Span) -> list[list[tuple[str, bytes]]]:
        """Return the keys and the bytes of each span's items: those of the span with the stamp are read first."""
        first = [span for span in spans if span.first <= STAMP < span.last]
        then = [span for span in spans if span not in first]
        looks, lost = 0, set[str]()
        deadline = asyncio.get_running_loop().time() + self._client.patience
        while True:
            found = dict[Span, list[Answer]]()
            for some in (first, then):
                found |= zip(some, await asyncio.gather(*map(self.query, some)), strict=True)
            looks += 1
            halves = [span.partition for span in first if not _is_whole(span.partition, found)]
            if looks >= LOOKS:
                halves = [partition for partition in halves if not await self._is_by_hand(partition)]
            if halves:
                if asyncio.get_running_loop().time() > deadline:
                    raise DatabaseUnreachable(self._client.where, "a transaction stays half visible")
                await asyncio.sleep(PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - spreads the processes
                continue
            whole = [item for span, items in found.items() if not span.bare for item in items]
            objects = await self._loaded(whole, lost)
            if objects is not None:
                return [
                    [(item["k"]["S"], b"" if span.bare else _bytes(item, objects)) for item in found[span]]
                    for span in spans
                ]

    async def query(self, span: Span) -> list[Answer]:
        """Return the items of a span, as the table has them. Raises NameTooLong."""
        found: list[Answer] = []
        self._checked(span.first, LONGEST_KEY)
        condition, values = _condition(span)
        parameters: Answer = {
            "TableName": self._client.place.table,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": {":p": {"S": self.name(span.partition)}, **values},
            "ScanIndexForward": not span.backwards,
            "ConsistentRead": True,
        }
        if span.bare:
            parameters["ProjectionExpression"] = "k, s, t, w"
        while span.first < span.last and (span.limit is None or len(found) < span.limit):
            if span.limit is not None:
                parameters["Limit"] = span.limit - len(found)
            answer = await self._client.table("query", **parameters)
            found += [item for item in answer["Items"] if item["k"]["S"] < span.last]  # BETWEEN has both ends
            if "LastEvaluatedKey" not in answer:
                break
            parameters["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        for item in found:
            self.note((span.partition, item["k"]["S"]), item)
        return found

    def _checked(self, name: str, most: int) -> str:
        if len(name) > most // 4 and len(name.encode()) > most:
            raise NameTooLong(self._client.where, name, most)
        return name

    async def _fetched(self, keys: list[Key]) -> dict[Key, Answer]:
        """Return the items that are there, in the order of the keys."""
        chunks = [keys[start : start + GOT] for start in range(0, len(keys), GOT)]
        items = [item for some in await asyncio.gather(*map(self._chunk, chunks)) for item in some]
        by_id = {(item["p"]["S"], item["k"]["S"]): item for item in items}
        found = {key: by_id[id_] for key in keys if (id_ := (self.name(key[0]), key[1])) in by_id}
        for key, item in found.items():
            self.note(key, item)
        return found

    async def _snapshot(self, keys: list[Key]) -> dict[Key, Answer]:
        """Return the items that are there, in one moment for each hundred of them."""
        table, found = self._client.place.table, dict[Key, Answer]()
        for start in range(0, len(keys), GOT):
            some = keys[start : start + GOT]
            gets = [{"Get": {"TableName": table, "Key": self.id(key)}} for key in some]
            answer = await self._client.table("transact_get_items", TransactItems=gets)
            for key, response in zip(some, answer["Responses"], strict=True):
                if response.get("Item"):
                    found[key] = response["Item"]
                    self.note(key, response["Item"])
        return found

    async def _is_by_hand(self, partition: str) -> bool:
        """Tell whether a partition is not as its stamp says at any one moment, so that no look will find it whole."""
        stamp = (await self._snapshot([(partition, STAMP)])).get((partition, STAMP), {})
        marks = [mark["S"] for mark in stamp.get("w", {}).get("L", [])]
        found = await self._snapshot([(partition, STAMP), *((partition, mark[1:]) for mark in marks)])
        if found.get((partition, STAMP), {}).get("t") != stamp.get("t"):
            return False  # it has moved on
        items = {Span(partition): [item for key, item in found.items() if key[0] == partition]}
        return not _is_whole(partition, items)

    async def _chunk(self, keys: list[Key]) -> list[Answer]:
        table = self._client.place.table
        wanted: Answer = {table: {"Keys": list(map(self.id, keys)), "ConsistentRead": True}}
        found: list[Answer] = []
        async for left in Rounds(self._client, wanted):
            answer = await self._client.table("batch_get_item", RequestItems=left.requests)
            found += answer["Responses"].get(table, [])
            left.go_on_with(answer.get("UnprocessedKeys") or {}, table)
        return found

    async def _loaded(self, items: Iterable[Answer], lost: set[str]) -> dict[str, bytes] | None:
        """Return the objects of items; None if one is gone, which is then `lost`. Raises ObjectLost the next time."""
        names = [item["s"]["S"] for item in items if "s" in item]
        found = dict(zip(names, await asyncio.gather(*map(self._client.load, names)), strict=True))
        gone = {name for name, item in found.items() if item is None}
        for name in gone & lost:
            raise ObjectLost(self._client.where, self._client.place, name)
        lost |= gone
        return None if gone else {name: item for name, item in found.items() if item is not None}


class Rounds:
    """What AWS has not processed at once is sent again, after pauses, as long as the client has patience."""

    def __init__(self, client: Client, requests: Answer) -> None:
        """Begin with all requests; who sends them calls `go_on_with`."""
        self.requests = requests
        self._client = client
        self._pause = 0.0
        self._deadline = asyncio.get_running_loop().time() + client.patience

    def go_on_with(self, left: Answer, table: str) -> None:
        """Set what is left. An answer has its limit of bytes: only what brought nothing at all was throttled."""
        before, after = (len(_of(requests, table)) for requests in (self.requests, left))
        if after < before:
            self._pause = 0.0
            self._deadline = asyncio.get_running_loop().time() + self._client.patience
        self.requests = left

    def __aiter__(self) -> "Rounds":
        """Return itself."""
        return self

    async def __anext__(self) -> "Rounds":
        """Return itself for as long as something is left. Raises DatabaseUnreachable."""
        if not self.requests:
            raise StopAsyncIteration
        if asyncio.get_running_loop().time() + self._pause > self._deadline:
            raise DatabaseUnreachable(self._client.where, "it takes no more requests, it is throttled")
        await asyncio.sleep(self._pause * random.uniform(0.5, 1))  # noqa: S311 - spreads the processes
        self._pause = min(max(self._pause * 2, PAUSE), 1.0)
        return self


def _of(requests: Answer, table: str) -> Any:  # Any: a list
    """Return the requests of a table, which are keys, or puts and deletions."""
    found = requests.get(table, [])
    return found["Keys"] if isinstance(found, dict) else found


def changed(puts: Iterable[str], drops: Iterable[str]) -> Answer:
    """Return what a stamp says of a change in its partition."""
    return {"L": [*({"S": f"+{key}"} for key in puts), *({"S": f"-{key}"} for key in drops)]}


def _is_whole(partition: str, found: dict[Span, list[Answer]]) -> bool:
    """Tell whether what was read of a partition has all that the change has done with which its stamp came."""
    within = {span: {item["k"]["S"]: item for item in items} for span, items in found.items()}
    spans = {span: items for span, items in within.items() if span.partition == partition}
    stamp: Answer = next((items[STAMP] for items in spans.values() if STAMP in items), {})
    for mark in stamp.get("w", {}).get("L", []):
        sign, key = mark["S"][0], mark["S"][1:]
        for span, items in spans.items():
            if span.first <= key < span.last and not _is_beyond(span, items, key):
                item = items.get(key)
                if (item is not None) != (sign == "+") or (item and item.get("t") != stamp["t"]):
                    return False
    return True


def _is_beyond(span: Span, items: dict[str, Any], key: str) -> bool:
    """Tell whether a key is behind the last one that the span's limit has let through."""
    if span.limit is None or len(items) < span.limit:
        return False
    return key < min(items) if span.backwards else key > max(items)


def _bytes(item: Answer, objects: dict[str, bytes]) -> bytes:
    found: bytes = objects[item["s"]["S"]] if "s" in item else item["v"]["B"]
    return found


def _condition(span: Span) -> tuple[str, Answer]:
    """Return the condition on a query's keys and its values. No key is empty, and the table takes no such value."""
    first, last = {":a": {"S": span.first}}, {":z": {"S": span.last}}
    if not span.first:
        return ("p = :p", {}) if span.last == END else ("p = :p AND k < :z", last)
    if span.last == END:
        return "p = :p AND k >= :a", first
    return "p = :p AND k BETWEEN :a AND :z", first | last
