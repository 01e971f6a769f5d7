"""Runs in flight: a scenario as the checkpointer saw it, call by call, and its thread as it was after each of them.

A recording is made at a release and kept in the repository, a compressed file a scenario. Its values are packed by the
serializer that packs checkpoints, so they are read, or not, as the database's own rows would be.
"""

import lzma
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    get_checkpoint_metadata,
)

from ...agent import build_graph, checkpoint_types
from ...persistence import INPUT, Asked, Fence, Ledger, fenced, open_checkpointer, open_ledger
from ...runs import Runs, new_thread_id
from ...scenario import Scenario
from .play import MOST_ANSWERS, settings_for
from .wrapped import Wrapped

FOLDER = Path("tests", "inflight")  # in the project; a folder a release below it
SUFFIX = ".xz"

Event = dict[str, Any]  # a call of the checkpointer, or the questions with which the run waits; Any: values of the team


@dataclass(frozen=True)
class Recording:
    """A scenario that was played to its end, and what it ended with."""

    release: str
    scenario: str
    graph_version: str
    payload: Mapping[str, Any]  # the input; Any: values of the state
    events: Sequence[Event]
    condition: str  # at the end, as in ThreadStatus
    error: str

    def stops(self) -> list[int]:
        """Return how many events a thread had behind it that was left: in the queue, after each checkpoint, at each
        question, and within a superstep of which some task had finished and another one had not.
        """
        following = [*(event["kind"] for event in self.events[1:]), "checkpoint"]
        left = [n for n, kind in enumerate(following, 1) if self.events[n - 1]["kind"] != "writes" or kind == "writes"]
        return [0, *left]

    def describe(self, stop: int) -> str:
        """Return in words where a thread was left."""
        if stop == 0:
            return "in the queue"
        event = self.events[stop - 1]
        where = f" of {event['namespace'].partition(':')[0]}" if event.get("namespace") else ""
        match event["kind"]:
            case "checkpoint":
                return f"after superstep {event['metadata'].get('step')}{where}"
            case "writes":
                wrote = sorted({channel for channel, _ in event["writes"]})
                return f"after a task{where} wrote {', '.join(wrote)}"
            case _:
                return f"waiting for an answer to {', '.join(one['node'] for one in event['questions'])}"

    def answered(self, stop: int) -> int:
        """Return how many answers had been given by then."""
        return sum(event["kind"] == "questions" for event in self.events[: max(0, stop - 1)])


class _Journal(Wrapped):
    """Packs what is stored, in order."""

    def __init__(self, inner: BaseCheckpointSaver[Any]) -> None:
        super().__init__(inner)
        self.events: list[bytes] = []

    def note(self, event: Event) -> None:
        self.events.append(self.serde.dumps_typed(event)[1])

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        of = config["configurable"]
        self.note(
            {
                "kind": "checkpoint",
                "namespace": of.get("checkpoint_ns", ""),
                "parent": of.get("checkpoint_id", ""),
                "checkpoint": checkpoint,
                "metadata": get_checkpoint_metadata({"metadata": config.get("metadata") or {}}, metadata),
                "new_versions": new_versions,
            }
        )
        return await super().aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        of = config["configurable"]
        self.note(
            {
                "kind": "writes",
                "namespace": of.get("checkpoint_ns", ""),
                "parent": of["checkpoint_id"],
                "writes": [list(write) for write in writes],
                "task": task_id,
                "path": task_path,
            }
        )
        await super().aput_writes(config, writes, task_id, task_path)


async def record(scenario: Scenario, release: str, folder: Path) -> bytes:
    """Play a scenario, its data in a folder, and return the recording."""
    settings = settings_for(scenario, folder)
    answers = iter(scenario.answers)
    url = f"sqlite:///{folder / 'threads.db'}"
    async with open_checkpointer(url, settings=settings, types=checkpoint_types) as saver:
        graph = build_graph().compile(checkpointer=(outer := _Journal(saver)))
        journal = graph.checkpointer if isinstance(graph.checkpointer, _Journal) else outer  # with the graph's types
        async with Runs(graph, settings, open_ledger(saver)) as runs:
            thread, version = new_thread_id("inflight", "recorded"), ""
            try:
                status = await runs.start(scenario.input, thread=thread)
                for _ in range(MOST_ANSWERS):
                    if status.condition != "waiting":
                        break
                    journal.note({"kind": "questions", "questions": [_plain(each) for each in status.questions]})
                    if (answer := next(answers, None)) is None:
                        break
                    status = await runs.answer(thread, answer)
                condition, error = status.condition, status.error
            except Exception as raised:  # noqa: BLE001 - a scenario may be one that fails
                condition, error = "failed", told(raised)
            version = next(iter(await runs.ledger.newest(thread))).graph_version
    whole = {
        "release": release,
        "scenario": scenario.name,
        "graph_version": version,
        "payload": dict(scenario.input),
        "events": journal.events,
        "condition": condition,
        "error": error,
    }
    return lzma.compress(journal.serde.dumps_typed(whole)[1])


def read(packed: bytes, saver: BaseCheckpointSaver[Any]) -> Recording:
    """Return a recording. `saver` is that of a graph, which knows the types that its checkpoints may hold.

    Raises ValueUnreadable for what it does not know.
    """
    whole = saver.serde.loads_typed(("msgpack", lzma.decompress(packed)))
    events = [saver.serde.loads_typed(("msgpack", event)) for event in whole["events"]]
    return Recording(**{**whole, "events": events})


def file_of(scenario: str) -> str:
    """Return the name of a scenario's file."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", scenario) + SUFFIX


def told(error: Exception) -> str:
    """Return an error in words, with the node if LangGraph has noted one."""
    notes = [note for note in getattr(error, "__notes__", []) if "task with name" in note]
    return ". ".join([f"{type(error).__name__}: {error}", *notes])


async def bring_back(
    recording: Recording, stop: int, thread: str, saver: BaseCheckpointSaver[Any], ledger: Ledger
) -> None:
    """Store a thread as it was after so many events, with its run in the ledger, which nobody executes."""
    versions = {"graph_version": recording.graph_version, "release": recording.release}
    run = await ledger.begin(str(uuid4()), thread, dict(recording.payload), holder="recorded", **versions)
    if run is None:
        raise AssertionError(f"thread {thread} is there already")
    questions: list[Asked] = []
    with fenced(Fence(run.run_id, run.attempt, INPUT)):
        for event in recording.events[:stop]:
            questions = [Asked(**each) for each in event["questions"]] if event["kind"] == "questions" else []
            if questions:
                continue
            place: RunnableConfig = {"configurable": {"thread_id": thread, "checkpoint_ns": event["namespace"]}}
            if event["parent"]:
                place["configurable"]["checkpoint_id"] = event["parent"]
            if event["kind"] == "checkpoint":
                await saver.aput(place, event["checkpoint"], event["metadata"], event["new_versions"])
            else:
                writes = [(channel, value) for channel, value in event["writes"]]
                await saver.aput_writes(place, writes, event["task"], event["path"])
    await ledger.settle(run, "waiting" if questions else "queued", questions=questions)


def _plain(question: Any) -> dict[str, Any]:  # Any: a Question; values of the team
    return {name: getattr(question, name) for name in ("node", "question_id", "payload", "schema")}
