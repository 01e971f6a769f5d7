"""Two processes that post to the same threads at once, and what became of each post."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

from langchain_core.messages import AnyMessage, HumanMessage, convert_to_messages

from ...agent import AgentSettings, scenarios
from ...errors import ProjectError
from ...runs import Runs, open_runs
from .play import MOST_ANSWERS, settings_for

WRITERS = 2
PATIENCE = 60.0  # seconds that one waits for the other


@dataclass(frozen=True)
class Posting:
    """A scenario that each writer posts on each thread."""

    scenario: str
    folder: Path
    url: str
    direct_url: str
    threads: int

    @property
    def settings(self) -> AgentSettings:
        """The settings of the scenario, with production's database."""
        urls = {"database_url": self.url, "database_direct_url": self.direct_url}
        return settings_for(self._scenario, self.folder, **urls)

    @property
    def _scenario(self) -> Any:  # Any: mypy takes the agent's own function for whatever a team makes it
        return next(scenario for scenario in scenarios() if scenario.name == self.scenario)

    def payload(self, mark: str) -> Mapping[str, Any]:
        """Return the scenario's input, its newest human message marked by an id. Any: values of the state."""
        given = dict(self._scenario.input)
        messages = _messages(given.get("messages"))
        newest = next((message for message in reversed(messages) if isinstance(message, HumanMessage)), None)
        if newest is None:
            return given
        marked = newest.model_copy(update={"id": mark})
        return {**given, "messages": [marked if message is newest else message for message in messages]}

    @property
    def answers(self) -> Sequence[str]:
        """What each run is answered."""
        return tuple(self._scenario.answers)


def post_all(posting: Posting, writer: int, turn: Barrier) -> None:
    """Post on every thread at the moment when the other one does, and write down what came of it."""

    async def post() -> list[dict[str, str]]:
        payloads = [posting.payload(mark(number, writer)) for number in range(posting.threads)]
        async with open_runs(posting.settings) as runs:
            await asyncio.to_thread(turn.wait, PATIENCE)
            posts = [post_one(runs, payload, thread(number)) for number, payload in enumerate(payloads)]
            return await asyncio.gather(*posts)

    try:
        told = asyncio.run(post())
    except BaseException:
        turn.abort()  # the other one need not wait
        raise
    (posting.folder / f"writer-{writer}.json").write_text(json.dumps(told), "utf-8")


async def post_one(runs: Runs, payload: Mapping[str, Any], to: str) -> dict[str, str]:
    """Post, and return that it was `accepted`, with the run that the thread has, or why it was `refused` or `broke`."""
    try:
        status = await runs.start(payload, thread=to)
    except ProjectError as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    except Exception as error:  # noqa: BLE001 - it is a finding
        return {"broke": f"{type(error).__name__}: {error}"}
    return {"accepted": status.run_id}


async def finish(runs: Runs, to: str, answers: Sequence[str]) -> None:
    """Answer what the thread's runs ask, and go on with what was left, until all are over."""
    left: dict[str, list[str]] = {}
    for _ in range(WRITERS * MOST_ANSWERS):
        status = await runs.status(to)
        if status.condition == "waiting":
            mine = left.setdefault(status.run_id, list(answers))
            if not mine:
                return
            await runs.answer(to, mine.pop(0))
        elif status.condition in {"queued", "unfinished"}:
            await runs.resume(to)
        else:
            return


async def marks_of(runs: Runs, to: str) -> list[str]:
    """Return the ids of the messages that the thread's newest state grew out of, each as often as one state has it."""
    history = {
        snapshot.config["configurable"]["checkpoint_id"]: snapshot for snapshot in await runs.history(to, limit=1000)
    }
    most: dict[str, int] = {}
    at = next(iter(history.values()), None)
    while at is not None:
        ids = [str(message.id) for message in _messages(at.values.get("messages"))]
        most |= {id_: max(most.get(id_, 0), ids.count(id_)) for id_ in ids}
        parent = at.parent_config["configurable"]["checkpoint_id"] if at.parent_config else ""
        at = history.get(parent)
    return [id_ for id_, times in most.items() for _ in range(times)]


def mark(number: int, writer: int) -> str:
    """Return the id of the message that a writer posts on a thread."""
    return f"{thread(number)}-writer-{writer}"


def thread(number: int) -> str:
    """Return the id of a thread."""
    return f"posting-{number}"


def _messages(value: Any) -> list[AnyMessage]:  # Any: whatever the state has under that name
    try:
        return list(convert_to_messages(value)) if isinstance(value, list | tuple) else []  # type: ignore[arg-type] # of base classes, of which all are
    except (NotImplementedError, ValueError):
        return []
