"""A program for `test_killed_clients`: a run of which the second node waits until the program is interrupted."""

import asyncio
import signal
import sys
from operator import add
from typing import Annotated, TypedDict

from acme_agent.persistence import open_checkpointer
from acme_agent.settings import Settings
from langgraph.graph import START, StateGraph


class Steps(TypedDict):
    """The nodes that ran."""

    steps: Annotated[list[str], add]


async def n1(state: Steps) -> Steps:
    """Finish."""
    return {"steps": ["n1"]}


async def n2(state: Steps) -> Steps:
    """Say so, and wait for ever."""
    print("n2 waits", flush=True)
    await asyncio.Event().wait()
    return {"steps": ["n2"]}


async def main(url: str) -> None:
    """Run thread a."""
    async with open_checkpointer(url, settings=Settings(_env_file=None)) as saver:
        builder = StateGraph(Steps)
        builder.add_node("n1", n1)
        builder.add_node("n2", n2)
        builder.add_edge(START, "n1")
        builder.add_edge("n1", "n2")
        graph = builder.compile(checkpointer=saver)
        await graph.ainvoke({"steps": []}, {"configurable": {"thread_id": "a"}}, durability="sync")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored
    asyncio.run(main(sys.argv[1]))
