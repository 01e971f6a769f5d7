"""What executes runs where there is no queue: a process that looks for those that wait, and for those of the dead."""

import asyncio
import signal

from acme_agent.invocation import load_settings
from acme_agent.runs import open_runs

CONCURRENCY = 20
LOOK = 0.2  # seconds


async def poll() -> None:
    """Execute what is queued until SIGTERM; then runs stop at their next superstep, and others go on with them."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    under_way: dict[str, asyncio.Task[object]] = {}
    async with open_runs(load_settings()) as runs:
        while not stop.is_set():
            await runs.recover()
            for run in await runs.ledger.stranded(0.0, CONCURRENCY):
                if run.run_id not in under_way and len(under_way) < CONCURRENCY:
                    under_way[run.run_id] = asyncio.create_task(runs.execute(run.run_id, retry=True))
            done = [run_id for run_id, task in under_way.items() if task.done()]
            for run_id in done:
                under_way.pop(run_id).exception()  # it is in the ledger, too
            await asyncio.sleep(LOOK)
        runs.keeper.drain("shutdown")
        await asyncio.gather(*under_way.values(), return_exceptions=True)
