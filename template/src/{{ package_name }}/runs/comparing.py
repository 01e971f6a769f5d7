"""Is a thread in another database the same? Its checkpoints are compared as they are stored, one by one."""

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from .threads import ThreadId

Saver = BaseCheckpointSaver[str]


async def difference(source: Saver, target: Saver, thread: ThreadId) -> str:
    """Return where the thread's checkpoints are not the same; nothing if they are."""
    theirs = aiter(target.alist(all_of(thread)))
    async for one in source.alist(all_of(thread)):
        other = await anext(theirs, None)
        for name, mine, its in zip(_NAMES, _facts(one), _facts(other), strict=True):
            if not _same(source, mine, its):
                return f"the {name} of checkpoint {one.checkpoint['id']}"
    return "" if await anext(theirs, None) is None else "there are more checkpoints"


def all_of(thread: ThreadId) -> RunnableConfig:
    """Return the config of a thread's checkpoints in all namespaces."""
    return {"configurable": {"thread_id": thread}}


_NAMES = ("place", "values", "channels", "metadata", "parent", "pending writes")


def _facts(found: CheckpointTuple | None) -> tuple[Any, ...]:  # Any: values of the state
    if found is None:
        return (None,) * len(_NAMES)
    rest = {key: found.checkpoint[key] for key in ("id", "ts", "channel_versions", "versions_seen")}
    parent = (found.parent_config or {}).get("configurable", {}).get("checkpoint_id")
    writes = {f"{task} {channel} {number}": value for number, (task, channel, value) in enumerate(_sorted(found))}
    place = found.config["configurable"].get("checkpoint_ns", "")
    return place, found.checkpoint["channel_values"], rest, found.metadata, parent, writes


def _sorted(found: CheckpointTuple) -> list[tuple[str, str, Any]]:  # Any: as above
    return sorted(found.pending_writes or [], key=lambda write: write[:2])


def _same(saver: Saver, one: Any, other: Any) -> bool:  # Any: as above
    """Compare values as they are stored: of two arrays, or two NaN, == tells nothing."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(saver, one[key], other[key]) for key in one)
    pack = saver.serde.dumps_typed
    return pack(one) == pack(other) or bool(one == other)
