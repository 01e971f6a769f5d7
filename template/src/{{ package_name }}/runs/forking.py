"""Copying a thread, up to one of its checkpoints, into a new one."""

from contextlib import suppress
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from ..persistence import Fence, LeaseLost, ValueUnreadable, fenced
from . import errors
from .keeper import Keeper
from .reservation import reserved
from .threads import ThreadId

PAGE = 100  # checkpoints whose ids are read at once


async def fork_thread(
    checkpointer: BaseCheckpointSaver[str],
    keeper: Keeper,
    thread: ThreadId,
    checkpoint: str | None,
    to: ThreadId,
) -> None:
    """Copy the checkpoints of all namespaces up to `checkpoint`, and the writes between them, oldest first.

    Through the saver, value by value: what is sealed is sealed for its thread. The new thread is reserved until it is
    whole, so no run begins on a part. Raises WrongRequest if there is a thread `to`.
    """
    ledger = keeper.ledger
    if await ledger.newest(to) or await checkpointer.aget_tuple({"configurable": {"thread_id": to}}):
        raise errors.exists(to)
    async with reserved(keeper, to, "fork") as copying:
        if copying is None:
            raise errors.exists(to)
        lease = Fence(copying.run_id, copying.attempt)
        try:
            with fenced(lease):
                await _copy(checkpointer, thread, checkpoint, to)
        except BaseException:
            with suppress(LeaseLost), fenced(lease):  # another process has the thread: what is there now is not ours
                await checkpointer.adelete_thread(to)
            raise
        await ledger.note("forked", copying, f"from {thread}, checkpoint {checkpoint or 'newest'}")
    await ledger.forget(to)  # the entry of the copy: the thread's runs begin after it


async def _copy(checkpointer: BaseCheckpointSaver[str], thread: ThreadId, checkpoint: str | None, to: ThreadId) -> None:
    cut = None if await _is_newest(checkpointer, thread, checkpoint) else checkpoint
    for config in reversed(await _ids(checkpointer, thread, checkpoint)):
        found = await checkpointer.aget_tuple(config)
        if found:  # what the old thread did after its last copied checkpoint is not copied
            await copy_checkpoint(checkpointer, found, to, with_writes=found.checkpoint["id"] != cut)


async def _is_newest(checkpointer: BaseCheckpointSaver[str], thread: ThreadId, checkpoint: str | None) -> bool:
    with suppress(ValueUnreadable):  # then it is another one: this one was read
        head = await checkpointer.aget_tuple({"configurable": {"thread_id": thread}})
        return head is not None and head.checkpoint["id"] == checkpoint
    return False


async def _ids(
    checkpointer: BaseCheckpointSaver[str], thread: ThreadId, checkpoint: str | None
) -> list[RunnableConfig]:
    """Return the places of the checkpoints to copy, newest first."""
    found: list[RunnableConfig] = []
    before: RunnableConfig | None = None
    everything: RunnableConfig = {"configurable": {"thread_id": thread}}
    if checkpoint is not None:
        before = {"configurable": {"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": checkpoint}}
        found.append(before)
    while True:
        page = [item async for item in checkpointer.alist(everything, before=before, limit=PAGE)]
        found += [item.config for item in page]
        if len(page) < PAGE:
            return found
        before = page[-1].config


async def copy_checkpoint(
    checkpointer: BaseCheckpointSaver[str], found: CheckpointTuple, to: ThreadId, *, with_writes: bool
) -> None:
    """Store a checkpoint, and the writes that are pending on it, under its own id in the thread `to`."""
    place = found.config["configurable"]
    parent = (found.parent_config or {}).get("configurable", {}).get("checkpoint_id")
    target: dict[str, Any] = {"thread_id": to, "checkpoint_ns": place["checkpoint_ns"]}
    onto: RunnableConfig = {"configurable": {**target, **({"checkpoint_id": parent} if parent else {})}}
    stored = await checkpointer.aput(onto, found.checkpoint, found.metadata, found.checkpoint["channel_versions"])
    writes: dict[str, list[tuple[str, Any]]] = {}
    for task, channel, value in (found.pending_writes or []) if with_writes else ():
        writes.setdefault(task, []).append((channel, value))
    for task, made in writes.items():
        await checkpointer.aput_writes(stored, made, task)
