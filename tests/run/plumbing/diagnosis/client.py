"""A process that starts a run on a thread, says that it is at work, and never finishes."""

import asyncio
import sys
from typing import Any

from acme_agent.agent import AgentSettings, State, new_input, search
from acme_agent.runs import open_runs


async def hang(state: State) -> dict[str, Any]:  # Any: values of the state
    """Never return."""
    print("at work", flush=True)
    await asyncio.sleep(3600)
    return {}


async def main(thread: str) -> None:
    """Start the run."""
    async with open_runs(AgentSettings()) as runs:
        await runs.start(new_input("How many books may a member borrow?"), thread=thread)


search.plan = hang  # type: ignore[assignment] # a model that does not answer
asyncio.run(main(sys.argv[1]))
