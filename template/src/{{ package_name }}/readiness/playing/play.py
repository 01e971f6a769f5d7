"""Playing a scenario to its end, once and undisturbed, with a note of all that was stored on the way.

Most checks look at what the agent's scenarios leave behind: what a checkpoint holds, which node wrote which channel,
what was asked. So each is played once in a session, in a SQLite file of its own, and the checks share the record.
"""

import asyncio
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.serde.base import SerializerProtocol

from ...agent import AgentSettings, build_graph, checkpoint_types
from ...persistence import Question, open_checkpointer, open_ledger
from ...runs import Runs, ThreadStatus, new_thread_id
from ...scenario import Scenario
from .nodes_at_work import AtWork, NodesAtWork
from .wrapped import Wrapped

MOST_ANSWERS = 50  # to one scenario that is asked again and again


@dataclass(frozen=True)
class Stored:
    """A checkpoint that was stored: which superstep, in which sub-graph, with what in which channel."""

    step: int
    namespace: str  # empty for the graph itself
    values: Mapping[str, Any]  # Any: the values of the channels
    sizes: Mapping[str, int]  # bytes of each channel, as it is stored
    id: str = ""

    @property
    def size(self) -> int:
        """Bytes of all channels together."""
        return sum(self.sizes.values())


@dataclass(frozen=True)
class Write:
    """What a task wrote into a channel. Tasks of one superstep have the same checkpoint."""

    node: str
    task: str
    checkpoint: str
    namespace: str
    channel: str
    value: Any  # Any: a value of the channel


@dataclass
class Played:
    """The record of a scenario."""

    scenario: Scenario
    settings: AgentSettings
    thread: str
    status: ThreadStatus | None = None  # at the end; None if it raised
    error: Exception | None = None
    checkpoints: list[Stored] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)  # in the order in which they were asked
    tasks: dict[str, str] = field(default_factory=dict)  # the node that each task is, by the task's id
    serializers: dict[str, SerializerProtocol] = field(default_factory=dict)  # of each namespace
    node_seconds: list[tuple[str, float]] = field(default_factory=list)  # how long each node was at work
    seconds: float = 0.0

    @property
    def values(self) -> Mapping[str, Any]:
        """The state at the end. Any: the values of the channels."""
        return self.status.values if self.status else {}


def settings_for(scenario: Scenario, folder: Path, **more: Any) -> AgentSettings:  # Any: values of settings
    """Return the settings that a scenario runs with, its data in a folder; the environment's own are left out."""
    own = {"run_crash_limit": 1000, "data_dir": folder, "environment": "test"}
    return AgentSettings(_env_file=None, **{**own, **scenario.settings, **more})


async def play(
    scenario: Scenario,
    folder: Path,
    *,
    url: str = "",
    thread: str = "",
    answers: Iterable[object] | None = None,
    wrap: type[Wrapped] | None = None,
    callbacks: Sequence[BaseCallbackHandler] = (),
    **settings: Any,  # Any: values of settings
) -> Played:
    """Play a scenario and return its record; what it raises is in there.

    `thread` is one that was played before, with its folder or URL: the scenario becomes that conversation's next turn.
    `answers` replaces the scenario's and may be endless; when they are over, the record ends with a question. `wrap` is
    put around the checkpointer, inside the record.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nobody else uses this event loop
    used = settings_for(scenario, folder, **settings)
    url = url or f"sqlite:///{folder / 'threads.db'}"
    thread = thread or new_thread_id("play", job_name(scenario.name))
    played = Played(scenario, used, thread)
    given = iter(scenario.answers if answers is None else answers)
    began = time.monotonic()
    async with open_checkpointer(url, settings=used, types=checkpoint_types) as saver:
        recorder = _Recorder(wrap(saver) if wrap else saver, played)
        graph = build_graph().compile(checkpointer=recorder).with_config(callbacks=[_Nodes(played), *callbacks])
        async with Runs(graph, used, open_ledger(saver)) as runs:
            try:
                status = await runs.start(scenario.input, thread=played.thread)
                while status.condition == "waiting" and len(played.questions) < MOST_ANSWERS:
                    played.questions.append(status.questions[0])
                    if (answer := next(given, None)) is None:
                        break
                    status = await runs.answer(played.thread, answer)
                played.status = status
            except Exception as error:  # noqa: BLE001 - it is in the record
                played.error = error
    played.seconds = time.monotonic() - began
    return played


def job_name(scenario: str) -> str:
    """Return a scenario's name as it may stand in a thread id."""
    return re.sub(r"[^A-Za-z0-9._:-]", ".", scenario)


class Plays:
    """The records of a session's scenarios, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        """Keep the scenarios' data in a folder."""
        self._folder = folder
        self._played: dict[str, Played] = {}

    def of(self, scenario: Scenario) -> Played:
        """Return the record of a scenario."""
        if scenario.name not in self._played:
            folder = self._folder / str(len(self._played))
            self._played[scenario.name] = asyncio.run(play(scenario, folder))
        return self._played[scenario.name]


class _Recorder(Wrapped):
    """Notes what is stored."""

    def __init__(self, inner: BaseCheckpointSaver[Any], played: Played) -> None:
        super().__init__(inner)
        self._played = played

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        values = dict(checkpoint["channel_values"])
        sizes = {name: len(self.serde.dumps_typed(value)[1]) for name, value in values.items()}
        namespace = config["configurable"].get("checkpoint_ns", "")
        self._played.serializers[namespace] = self.serde
        stored = Stored(metadata.get("step", -1), namespace, values, sizes, checkpoint["id"])
        self._played.checkpoints.append(stored)
        return await super().aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        of = config["configurable"]
        self._played.serializers[of.get("checkpoint_ns", "")] = self.serde
        node = self._played.tasks.get(task_id, "")  # empty: LangGraph itself, as for an input
        for channel, value in writes:
            self._played.writes.append(
                Write(node, task_id, of.get("checkpoint_id", ""), of.get("checkpoint_ns", ""), channel, value)
            )
        await super().aput_writes(config, writes, task_id, task_path)


class _Nodes(NodesAtWork):
    """Notes which node each task is, and how long it was at work."""

    def __init__(self, played: Played) -> None:
        super().__init__()
        self._played = played
        self._began: dict[str, float] = {}

    def begins(self, at: AtWork) -> None:
        self._played.tasks[at.task] = at.node
        self._began[at.task] = time.monotonic()

    def is_done(self, at: AtWork) -> None:
        self._played.node_seconds.append((at.node, time.monotonic() - self._began[at.task]))
