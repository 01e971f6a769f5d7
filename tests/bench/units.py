"""What a run costs on DynamoDB: `python -m bench.units`, in request units by AWS's rules, for docs/persistence.md.

Nothing is billed here: the calls go to moto, and are counted as AWS's documentation says. A write is a unit for each kB
begun, of the old item or the new one, whichever is larger; in a transaction it is two, and so is a condition. A
strongly consistent read is a unit for each 4 kB begun, of each item that is got, or of all that a query passes.
"""

import asyncio
import math
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypedDict

from acme_agent.agent import AgentSettings
from acme_agent.persistence import migrate, open_checkpointer, open_ledger
from acme_agent.persistence.dynamodb_client import Client
from acme_agent.readiness.servers.dynamodb_fixtures import url_at
from acme_agent.readiness.servers.dynamodb_server import ENVIRONMENT, dynamodb_server
from acme_agent.runs import Runs
from acme_agent.runs.holder import new_holder
from langgraph.graph import START, StateGraph
from pydantic import SecretStr

FEW, MANY = 4, 12  # supersteps of two runs, whose difference is that of the supersteps between
SIZES = {"a number": 0, "a list of 1 kB": 1_000, "a list of 10 kB": 10_000, "a list of 100 kB": 100_000}

Item = dict[str, Any]  # Any: as DynamoDB has it


class State(TypedDict, total=False):
    """A number, and a text in a list, which is stored by itself."""

    number: int
    texts: list[str]


class Meter:
    """Counts the units of all calls from now on."""

    def __init__(self) -> None:
        self.units = Counter[str]()
        self._sizes: dict[tuple[str, str], int] = {}
        self._table, self._bucket = Client.table, Client.bucket

    def __enter__(self) -> Self:
        meter, table, bucket = self, self._table, self._bucket

        async def counted(client: Client, operation: str, patience: float | None = None, /, **given: Any) -> Item:
            answer = await table(client, operation, patience, **given)
            meter._count(operation, given, answer)
            return answer

        async def stored(client: Client, operation: str, **given: Any) -> Item:
            meter.units["requests to S3"] += 1
            return await bucket(client, operation, **given)

        Client.table = counted  # type: ignore[method-assign] # this process only measures
        Client.bucket = stored  # type: ignore[method-assign, assignment] # as above
        return self

    def __exit__(self, *_: object) -> None:
        Client.table, Client.bucket = self._table, self._bucket  # type: ignore[method-assign] # as above

    def _count(self, operation: str, given: Item, answer: Item) -> None:
        match operation:
            case "transact_write_items":
                for part in given["TransactItems"]:
                    ((kind, what),) = part.items()
                    self.units["write units"] += 2 * self._written(kind, what.get("Item") or what["Key"])
            case "batch_write_item":
                for requests in given["RequestItems"].values():
                    for request in requests:
                        ((kind, what),) = request.items()
                        self.units["write units"] += self._written(kind, what.get("Item") or what["Key"])
            case "put_item" | "update_item":
                self.units["write units"] += 1
            case "get_item":
                self.units["read units"] += 1
            case "batch_get_item":
                for what in given["RequestItems"].values():
                    self.units["read units"] += sum(_units(self._sizes.get(_id(key), 0), 4) for key in what["Keys"])
            case "query":
                partition = given["ExpressionAttributeValues"][":p"]["S"]
                passed = sum(self._sizes.get((partition, item["k"]["S"]), 0) for item in answer["Items"])
                self.units["read units"] += _units(passed, 4)

    def _written(self, kind: str, item: Item) -> int:
        old = self._sizes.get(_id(item), 0)
        new = sum(len(name) + _size(value) for name, value in item.items()) if kind.startswith("Put") else 0
        if kind != "ConditionCheck":
            self._sizes[_id(item)] = new
        return _units(max(old, new), 1)


def _units(size: int, kilobytes: int) -> int:
    return max(1, math.ceil(size / (1024 * kilobytes)))


def _id(item: Item) -> tuple[str, str]:
    return item["p"]["S"], item["k"]["S"]


def _size(value: Item) -> int:
    ((kind, content),) = value.items()
    if kind == "L":
        return 3 + sum(1 + _size(part) for part in content)
    return len(content.encode() if isinstance(content, str) else content)


def node(number: int, size: int) -> Callable[[State], Awaitable[State]]:
    """Return a node that changes the number, or a text of so many characters."""

    async def change(_: State) -> State:
        return {"texts": [str(number % 10) * size]} if size else {"number": number}

    return change


def chain(length: int, size: int) -> Any:  # Any: a graph of this state
    """Return a graph of nodes in a row, each of which changes one channel."""
    graph: Any = StateGraph(State)  # Any: as above
    for number in range(length):
        graph.add_node(f"node_{number}", node(number, size))
        graph.add_edge(f"node_{number - 1}" if number else START, f"node_{number}")
    return graph


async def cost_of(meter: Meter, settings: AgentSettings, length: int, size: int) -> Counter[str]:
    """Return what a first run of so many supersteps on a new thread costs."""
    url = settings.database_url.get_secret_value()
    async with open_checkpointer(url, settings=settings) as saver:
        graph = chain(length, size).compile(checkpointer=saver)
        async with Runs(graph, settings, open_ledger(saver)) as runs:
            before = Counter(meter.units)
            await runs.start({"number": 0}, thread=f"thread-{length}-{size}")
            return meter.units - before


async def beat(meter: Meter, settings: AgentSettings) -> Counter[str]:
    """Return what a sign of life costs."""
    async with open_checkpointer(settings.database_url.get_secret_value(), settings=settings) as saver:
        ledger = open_ledger(saver)
        run = await ledger.begin("beat", "beat", {}, holder=new_holder())
        assert run
        before = Counter(meter.units)
        await ledger.beat([run])
        return meter.units - before


async def main(url: str) -> None:
    """Print the table."""
    settings = AgentSettings(_env_file=None, database_url=SecretStr(url))
    await migrate(url, settings=settings)
    with Meter() as meter:
        print("| | write units | read units | requests to S3 |\n|---|---|---|---|")
        for name, size in SIZES.items():
            few, many = [await cost_of(meter, settings, length, size) for length in (FEW, MANY)]
            step = {kind: (many[kind] - few[kind]) / (MANY - FEW) for kind in meter.units}
            _print(f"a superstep that changes {name}", step)
            if not size:
                _print("a run besides its supersteps", {kind: few[kind] - FEW * step[kind] for kind in step})
        _print("a sign of life, every 5 s", await beat(meter, settings))


def _print(name: str, units: dict[str, float] | Counter[str]) -> None:
    numbers = (round(units.get(kind, 0)) for kind in ("write units", "read units", "requests to S3"))
    print(f"| {name} | {' | '.join(map(str, numbers))} |")


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)  # credentials that are none
    with dynamodb_server() as endpoint:
        asyncio.run(main(url_at(endpoint)))
