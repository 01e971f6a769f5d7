"""A checkpointer that passes every call on to another one: for those that watch, count or disturb."""

from collections.abc import AsyncIterator, Collection, Sequence
from copy import copy
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)


class Wrapped(BaseCheckpointSaver[Any]):
    """See the module. Any: the versions of the one inside are its own."""

    def __init__(self, inner: BaseCheckpointSaver[Any]) -> None:
        """Pass calls on to `inner`."""
        super().__init__(serde=inner.serde)
        self.inner = inner

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> "Wrapped":
        """Let the one inside store more types, too: LangGraph asks for those of the graph's schemas."""
        clone = copy(self)
        clone.inner = self.inner.with_allowlist(extra_allowlist)
        clone.serde = clone.inner.serde
        return clone

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Ask the one inside."""
        return self.inner.get_next_version(current, channel)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Ask the one inside."""
        return await self.inner.aget_tuple(config)

    async def alist(self, config: RunnableConfig | None, **kwargs: Any) -> AsyncIterator[CheckpointTuple]:
        """Ask the one inside."""
        async for found in self.inner.alist(config, **kwargs):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Have it stored by the one inside."""
        return await self.inner.aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Have them stored by the one inside."""
        await self.inner.aput_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """Have it deleted by the one inside."""
        await self.inner.adelete_thread(thread_id)
