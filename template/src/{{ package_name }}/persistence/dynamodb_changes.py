"""A change as DynamoDB takes it: which parts of it are one transaction, and how each of them is written."""

from hashlib import sha256
from uuid import uuid4

from .dynamodb_client import Answer
from .dynamodb_reading import changed
from .items import Change, Expected, Key
from .items.keys import INDEX, STAMP, parts

LARGE = 32_000  # bytes; DynamoDB takes 400 kB, at the price of 1 kB each, and 100 items together may have 4 MB
MOST = 100  # items of a transaction


def apart(change: Change, operations: dict[Key, Answer]) -> tuple[set[Key], list[Key]]:
    """Return what of a large change is stored before the transaction, and what is dropped after it.

    What only drops items, and expects nothing, is no step for anybody, and without a transaction half as dear.
    """
    if not change.puts and not change.expects:
        return set(), list(operations)
    if len(operations) <= MOST:
        return set(), []
    ahead = {key for key in change.puts if key not in change.expects and _stands_alone(key)}
    active = {parts(key[1])[-1] for key in change.puts if parts(key[1])[0] == "active"}
    drops = [key for key in operations if "Delete" in operations[key] and key not in change.expects]
    harmless = [key for key in drops if _may_stay(key) and parts(key[1])[-1] not in active]
    excess = len(operations) - len(ahead) - MOST
    return ahead, harmless[-excess:] if excess > 0 else []


def _stands_alone(key: Key) -> bool:
    """Tell whether an item is stored once, and nothing leads to it yet."""
    return key[0].startswith("audit:") or (key[0].startswith("state:") and parts(key[1])[0] == "value")


def _may_stay(key: Key) -> bool:
    """Tell whether an item does no harm where it is for a while longer, or for ever if this process dies."""
    if key[0].startswith("runs:"):
        return parts(key[1])[0] in {"over", "input", "delivered"}
    return key[0] != INDEX


def stamp(operations: dict[Key, Answer]) -> None:
    """Let the stamps among the items say what goes with them; see `dynamodb_reading`."""
    for partition in {key[0] for key in operations if key[1] == STAMP and "Put" in operations[key]}:
        within = {key[1]: kind for key, kind in operations.items() if key[0] == partition and key[1] != STAMP}
        puts = [key for key, kind in within.items() if "Put" in kind]
        own, mark = operations[partition, STAMP]["Put"]["Item"], {"B": uuid4().bytes}
        own["w"] = changed(puts, [key for key, kind in within.items() if "Delete" in kind])
        for item in (own, *(within[key]["Put"]["Item"] for key in puts)):
            item["t"] = mark


def value(item: bytes, name: str | None) -> Answer:
    """Return what an item has besides its key: its bytes, or the name of the object that holds them."""
    return {"s": {"S": name}, "d": {"B": sha256(item).digest()}} if name else {"v": {"B": item}}


def condition(expected: Expected) -> Answer:
    """Return how an expectation is written."""
    if expected is None:
        return {"ConditionExpression": "attribute_not_exists(p)"}
    if expected is True:
        return {"ConditionExpression": "attribute_exists(p)"}
    name, wanted = ("d", sha256(expected).digest()) if len(expected) > LARGE else ("v", expected)
    return {"ConditionExpression": f"{name} = :e", "ExpressionAttributeValues": {":e": {"B": wanted}}}
