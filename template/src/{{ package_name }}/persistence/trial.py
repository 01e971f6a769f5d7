"""Does storing work, how fast, and on what? For `doctor`."""

import asyncio
from time import monotonic
from typing import Any, Protocol, runtime_checkable
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint, empty_checkpoint

RUNS = 20  # checkpoints that are stored at once


@runtime_checkable
class _HasFigures(Protocol):
    def describe(self) -> str: ...


@runtime_checkable
class _HasFacts(Protocol):
    async def facts(self) -> list[str]: ...


async def facts_of(checkpointer: BaseCheckpointSaver[Any]) -> list[str]:
    """Return what the checkpointer's server says of itself, in words. Any: the type of its versions."""
    return await checkpointer.facts() if isinstance(checkpointer, _HasFacts) else []


async def try_storing(checkpointer: BaseCheckpointSaver[Any]) -> str:
    """Store one checkpoint each of a few threads of its own, delete them, and return in words how it went.

    Any: the type of its versions. Raises what storing raises.
    """
    threads = [f"doctor-{uuid4().hex}" for _ in range(RUNS)]
    configs: list[RunnableConfig] = [{"configurable": {"thread_id": id_, "checkpoint_ns": ""}} for id_ in threads]
    version = checkpointer.get_next_version(None, None)
    checkpoint: Checkpoint = {
        **empty_checkpoint(),
        "channel_values": {"trial": ["x" * 500]},
        "channel_versions": {"trial": version},
    }
    began = monotonic()
    try:
        await asyncio.gather(*(checkpointer.aput(config, checkpoint, {}, {"trial": version}) for config in configs))
        seconds = monotonic() - began
        found = await checkpointer.aget_tuple(configs[-1])
    finally:
        for id_ in threads:
            await checkpointer.adelete_thread(id_)
    if found is None or found.checkpoint["channel_values"] != checkpoint["channel_values"]:
        raise AssertionError("a checkpoint that was stored cannot be read back")
    figures = f"; {checkpointer.describe()}" if isinstance(checkpointer, _HasFigures) else ""
    return f"{RUNS} checkpoints at once were stored in {seconds * 1000:.0f} ms{figures}"
