"""Does storing work, how fast, and on what? For `doctor`."""

import asyncio
from time import monotonic
from typing import Any, Protocol, runtime_checkable
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint, empty_checkpoint

RUNS = 20  # checkpoints that are stored at once
SMALL, LARGE = 500, 40_000  # characters; a store may keep large values elsewhere, and one of them is tried, too


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
    """Store a checkpoint each of a few threads of its own, one of them large, delete them, and return how it went.

    Any: the type of its versions. Raises what storing raises.
    """
    threads = [f"doctor-{uuid4().hex}" for _ in range(RUNS + 1)]
    configs: list[RunnableConfig] = [{"configurable": {"thread_id": id_, "checkpoint_ns": ""}} for id_ in threads]
    version = checkpointer.get_next_version(None, None)

    def checkpoint(size: int) -> Checkpoint:
        return {
            **empty_checkpoint(),
            "channel_values": {"trial": ["x" * size]},
            "channel_versions": {"trial": version},
        }

    small, large = checkpoint(SMALL), checkpoint(LARGE)
    began = monotonic()
    try:
        await asyncio.gather(*(checkpointer.aput(config, small, {}, {"trial": version}) for config in configs[:RUNS]))
        seconds = monotonic() - began
        figures = f"; {checkpointer.describe()}" if isinstance(checkpointer, _HasFigures) else ""
        await checkpointer.aput(configs[RUNS], large, {}, {"trial": version})
        found = [await checkpointer.aget_tuple(config) for config in (configs[RUNS], configs[0])]
    finally:
        for id_ in threads:
            await checkpointer.adelete_thread(id_)
    for stored, read in zip((large, small), found, strict=True):
        if read is None or read.checkpoint["channel_values"] != stored["channel_values"]:
            raise AssertionError("a checkpoint that was stored cannot be read back")
    return f"{RUNS} checkpoints at once were stored in {seconds * 1000:.0f} ms{figures}"
