"""A process that posts to a thread whenever it is told to; see test_two_processes."""

import asyncio
import json
import sys
from operator import add
from typing import Annotated, Any, TypedDict

from acme_agent.agent import AgentSettings
from acme_agent.persistence import open_checkpointer, open_ledger
from acme_agent.runs import Runs, ThreadBusy
from langgraph.graph import START, StateGraph
from pydantic import SecretStr

THREAD = "shared"


class State(TypedDict, total=False):
    """What was posted, and how often the nodes have worked."""

    posted: Annotated[list[str], add]
    worked: Annotated[int, add]


async def work(_state: State) -> State:
    """Let others have a turn."""
    await asyncio.sleep(0)
    return {"worked": 1}


async def main(url: str, name: str, mode: Any) -> None:
    """Post a message for every line of stdin, and say what became of it."""
    settings = AgentSettings(_env_file=None, database_url=SecretStr(url), actor=name)
    async with open_checkpointer(url, settings=settings) as saver:
        graph: Any = StateGraph(State)
        graph.add_node("one", work)
        graph.add_node("two", work)
        graph.add_edge(START, "one")
        graph.add_edge("one", "two")
        async with Runs(graph.compile(checkpointer=saver), settings, open_ledger(saver)) as runs:
            print("ready", flush=True)
            while line := await asyncio.to_thread(sys.stdin.readline):
                message = f"{name}-{line.strip()}"
                try:
                    status = await runs.start({"posted": [message]}, thread=THREAD, mode=mode)
                    said = {"message": message, "accepted": True, "condition": status.condition}
                except ThreadBusy:
                    said = {"message": message, "accepted": False}
                print(json.dumps(said), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
