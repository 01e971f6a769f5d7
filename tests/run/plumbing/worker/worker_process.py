"""A worker in a process of its own, on the example's graph or on one whose nodes do what a run's input orders.

Called with a JSON object: `concurrency`; `journal`, the file in which each node notes that it began and ended, without
which the graph is the example's; `constants`, a new value for each constant of the package that is named.
"""

import asyncio
import json
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TypedDict

from acme_agent.agent import AgentSettings
from acme_agent.errors import ProjectError
from acme_agent.invocation import load_settings
from acme_agent.runs import opening
from acme_agent.worker.errors import WorkerEnded
from acme_agent.worker.process import work
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph

NODES = ("a", "b", "c", "d")


def _add(old: list[str], new: list[str]) -> list[str]:
    return [*old, *new]


class State(TypedDict, total=False):
    """Orders for each node, and what was done."""

    orders: dict[str, dict[str, Any]]  # Any: numbers and flags
    log: Annotated[list[str], _add]


class Journal:
    """Lines that all processes append to, each in one write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, run: str, node: str, what: str) -> None:
        """Append a line. CLOCK_MONOTONIC is the same in all processes of a machine."""
        line = {"run": run, "node": node, "what": what, "pid": os.getpid(), "at": time.monotonic()}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """Return what was noted. Any: as in `note`."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def count(self, run: str, node: str) -> int:
        """Return how often a run's node has begun."""
        return sum((line["run"], line["node"], line["what"]) == (run, node, "began") for line in self.lines())


async def _there(file: str | None) -> None:
    """Return once the file is there, if one is named."""
    while file and not os.path.exists(file):  # noqa: ASYNC110, ASYNC240, PTH110 - another process makes it
        await asyncio.sleep(0.01)


def build(journal: Journal) -> Any:  # Any: a graph of another state than the agent's
    """Return four nodes in a row."""

    def node(name: str) -> Any:  # Any: as LangGraph types nodes
        async def act(state: State, config: RunnableConfig) -> dict[str, Any]:
            run = config["metadata"]["run_id"]
            journal.note(run, name, "began")
            orders = state.get("orders", {}).get(name, {})
            if orders.get("kill") and journal.count(run, name) <= orders["kill"]:
                os.kill(os.getpid(), signal.SIGKILL)
            if orders.get("fail") and journal.count(run, name) <= orders["fail"]:
                raise RuntimeError("the provider is down")
            if orders.get("refuse"):
                raise ProjectError("mend the key")
            if orders.get("block") and journal.count(run, name) == 1:
                while not os.path.exists(orders["block"]):  # noqa: ASYNC240, PTH110 - as below
                    time.sleep(0.05)  # noqa: ASYNC251 - that is what is tested
            await _there(orders.get("wait"))
            await asyncio.sleep(orders.get("sleep", 0))
            journal.note(run, name, "ended")
            return {"log": [name]}

        return act

    graph: Any = StateGraph(State)  # Any: as above
    for before, name in zip((START, *NODES), NODES, strict=False):
        graph.add_node(name, node(name))
        graph.add_edge(before, name)
    return graph


def main() -> None:
    """Work as the command does."""
    told = json.loads(sys.argv[1])
    for name, value in told.get("constants", {}).items():
        module, _, constant = name.rpartition(".")
        assert hasattr(import_module(f"acme_agent.{module}"), constant), name
        setattr(import_module(f"acme_agent.{module}"), constant, value)
    if told.get("journal"):
        journal = Journal(Path(told["journal"]))
        setattr(opening, "build_graph", lambda: build(journal))  # noqa: B010 - it is no name that the module exports
    settings: AgentSettings = load_settings()
    try:
        asyncio.run(work(settings, told["concurrency"], lambda: print("ready", flush=True)))
    except WorkerEnded as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
