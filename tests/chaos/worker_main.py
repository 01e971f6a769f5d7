"""One worker process: the project's own `worker` command, with a model that plays every scenario; or, where the
database has no queue, a loop that looks for runs.

`CHAOS_PLANT` names a bug that is planted, to see that the test finds it.
"""

import asyncio
import os
import random
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from acme_agent import cli
from acme_agent.agent import offline_scenarios, scenarios
from acme_agent.agent.scripted import Reply
from acme_agent.persistence import fence, postgres_saver, sqlite
from acme_agent.persistence.items import ItemSaver, saver
from acme_agent.runs import execution, keeper, recovery, status
from acme_agent.runs.keeper import Held

from .poller import poll

MODEL = "chaos"
SAVERS = (postgres_saver.PostgresSaver, sqlite.SqliteSaver, ItemSaver)


def play_all() -> None:
    """Add a script that holds the replies of all scenarios, each for the questions of its own."""
    replies: list[Reply] = []
    for scenario in scenarios():
        own = re.escape(str(scenario.input["question"]))
        for reply in offline_scenarios._SCRIPTS[scenario.name]:
            here = rf"\A(?=(?s:.*{own}))(?s:.*?)"
            replies.append(replace(reply, when=here + (reply.when.removeprefix(r"\A") if reply.when else "")))
    offline_scenarios._SCRIPTS[MODEL] = tuple(replies)


def plant(bug: str) -> None:
    """Disable one of the guards."""
    if bug == "fence":  # writes are not checked
        for module in (postgres_saver, sqlite, saver):
            _replace(module, "fence_of_checkpoint", lambda *_: None)
            _replace(module, "fence_of_writes", lambda *_: None)
    elif bug == "deliver-once":  # what was given is given again
        giving = fence._giving

        def nothing(*, gives: bool) -> fence.Fence | None:
            held = giving(gives=gives)
            return replace(held, gives="") if held else None

        _replace(fence, "_giving", nothing)
    elif bug == "go-on":  # a thread whose `next` is empty is taken for finished
        drive = execution.Executor._drive

        async def drive_unless_empty(self: execution.Executor, held: Held, *more: Any) -> Any:
            run = held.run
            snapshot = await self._graph.aget_state({"configurable": {"thread_id": run.thread_id}})
            if not run.has_input and not snapshot.next:
                return snapshot.values, snapshot
            return await drive(self, held, *more)

        _replace(execution.Executor, "_drive", drive_unless_empty)
    elif bug:
        raise SystemExit(f"no bug is called {bug}")


def die_after_writes(chance: float, peace: Path) -> None:
    """Let the process end, now and then, when a task's writes are stored and the next checkpoint is not.

    Not any more when there is a file `peace`: then what was accepted has to come to its end.
    """

    def aput_writes_of(saver: Any) -> Any:  # Any: a method
        store = saver.aput_writes

        async def aput_writes(self: Any, *given: Any) -> None:
            await store(self, *given)
            if random.random() < chance and not peace.exists():  # noqa: ASYNC240 - once in a few hundred writes
                os.kill(os.getpid(), signal.SIGKILL)

        return aput_writes

    for kind in SAVERS:
        _replace(kind, "aput_writes", aput_writes_of(kind))


def _replace(owner: object, name: str, by: object) -> None:
    assert hasattr(owner, name), f"{owner} has no {name}: the guard has moved"
    setattr(owner, name, by)


def shorten(lease: float) -> None:
    """Let runs be taken over after so many seconds of silence."""
    for module in (keeper, status):
        _replace(module, "LEASE", lease)
    for module in (keeper, recovery):
        _replace(module, "BEAT", lease / 4)


if __name__ == "__main__":
    play_all()
    shorten(float(os.environ["CHAOS_LEASE"]))
    die_after_writes(float(os.environ["CHAOS_DEATHS"]), Path(os.environ["CHAOS_PEACE"]))
    plant(os.environ.get("CHAOS_PLANT", ""))
    if os.environ["CHAOS_QUEUE"]:
        sys.argv = ["acme-agent", *sys.argv[1:]]
        cli.main()
    asyncio.run(poll())
