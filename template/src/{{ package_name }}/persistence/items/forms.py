"""How a checkpoint and the writes of a task become items, and items a checkpoint.

A value that does not change is stored once, for all checkpoints that hold it. Texts and numbers that are short stand in
the checkpoint itself. What a task writes is one item, so that it is there as a whole or not at all.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ormsgpack
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from ...errors import PROGRAM
from ..errors import ValueRefused, ValueUnreadable
from . import keys
from .items import Key

SHORT = 200  # characters of a text that stands in the checkpoint
NORMAL = "0"  # what a task writes besides the special channels, whose numbers are negative

_SCALARS = (bool, int, float, type(None))


class Place(NamedTuple):
    """A checkpoint's place."""

    thread: str
    namespace: str
    checkpoint: str

    @classmethod
    def of(cls, config: RunnableConfig) -> "Place":
        """Return the place that a config names; it may be without a checkpoint."""
        ids = config["configurable"]
        return cls(str(ids["thread_id"]), ids.get("checkpoint_ns", ""), ids.get("checkpoint_id") or "")

    @property
    def key(self) -> Key:
        """Where the checkpoint is."""
        return keys.state(self.thread), keys.checkpoint(self.namespace, self.checkpoint)

    def config(self, checkpoint: str = "") -> RunnableConfig:
        """Return the config that names the checkpoint, or another one beside it."""
        ids = {"thread_id": self.thread, "checkpoint_ns": self.namespace}
        return {"configurable": {**ids, "checkpoint_id": checkpoint or self.checkpoint}}


def checkpoint_items(
    serde: SerializerProtocol,
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    new_versions: ChannelVersions,
) -> dict[Key, bytes]:
    """Return the items of a checkpoint; `new_versions` are the channels that changed. Raises ValueRefused."""
    parent, values = Place.of(config), checkpoint["channel_values"]
    state, versions = keys.state(parent.thread), checkpoint["channel_versions"]
    inline = {name: value for name, value in values.items() if _is_short(value)}
    apart = {name: str(versions[name]) for name in values if name not in inline}
    entry = {
        "parent": parent.checkpoint,
        "checkpoint": _packed(serde, parent.thread, {**checkpoint, "channel_values": inline}),
        "metadata": _packed(serde, parent.thread, get_checkpoint_metadata(config, metadata)),
        "values": apart,
    }
    puts: dict[Key, bytes] = {
        (state, keys.value(parent.namespace, name, apart[name])): ormsgpack.packb(
            _packed(serde, parent.thread, values[name], name)
        )
        for name in new_versions
        if name in apart
    }
    puts[state, keys.checkpoint(parent.namespace, checkpoint["id"])] = ormsgpack.packb(entry)
    return puts


def writes_items(
    serde: SerializerProtocol, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task: str, path: str
) -> dict[Key, bytes]:
    """Return the items of a task's writes. Any: values of the state. Raises ValueRefused."""
    place, rows = Place.of(config), dict[str, list[Any]]()
    for index, (channel, value) in enumerate(writes):
        number = WRITES_IDX_MAP.get(channel, index)
        packed = _packed(serde, place.thread, value, channel)
        rows.setdefault(NORMAL if number >= 0 else str(number), []).append((number, channel, packed))
    state = keys.state(place.thread)
    return {
        (state, keys.writes(place.namespace, place.checkpoint, task, number)): ormsgpack.packb([path, found])
        for number, found in rows.items()
    }


def value_keys(place: Place, item: bytes) -> dict[str, Key]:
    """Return where the values of a checkpoint are, by their channels."""
    values = ormsgpack.unpackb(item)["values"]
    state = keys.state(place.thread)
    return {name: (state, keys.value(place.namespace, name, version)) for name, version in values.items()}


def checkpoint_of(
    serde: SerializerProtocol,
    place: Place,
    item: bytes,
    values: Mapping[str, bytes | None],
    writes: list[tuple[str, bytes]],
) -> CheckpointTuple:
    """Return a checkpoint with its values and writes. Raises ValueUnreadable."""
    entry, thread, apart = ormsgpack.unpackb(item), place.thread, dict[str, Any]()
    for name, value in values.items():
        if value is None:
            raise ValueUnreadable("no value any more", _remedy(place, entry["parent"]), channel=name, thread=thread)
        apart[name] = _opened(serde, thread, ormsgpack.unpackb(value), name)
    checkpoint = _opened(serde, thread, entry["checkpoint"])
    checkpoint["channel_values"] = {**checkpoint["channel_values"], **apart}
    return CheckpointTuple(
        place.config(),
        checkpoint,
        _opened(serde, thread, entry["metadata"]),
        place.config(entry["parent"]) if entry["parent"] else None,
        _writes(serde, thread, writes),
    )


def _remedy(place: Place, parent: str) -> str:
    if place.namespace or not parent:
        return "Go on from another checkpoint"
    return f"Go on from the checkpoint before: {PROGRAM} fork {place.thread} {parent}"


def metadata_of(serde: SerializerProtocol, item: bytes) -> Mapping[str, Any]:  # Any: what JSON can hold
    """Return the metadata of a checkpoint."""
    metadata: Mapping[str, Any] = serde.loads_typed(tuple(ormsgpack.unpackb(item)["metadata"]))
    return metadata


def _writes(serde: SerializerProtocol, thread: str, items: list[tuple[str, bytes]]) -> list[PendingWrite]:
    found = []
    for key, item in items:
        task = keys.parts(key)[3]
        for number, channel, packed in ormsgpack.unpackb(item)[1]:
            found.append((task, number, channel, _opened(serde, thread, packed, channel)))
    found.sort(key=lambda write: write[:2])
    return [(task, channel, value) for task, _, channel, value in found]


def _packed(serde: SerializerProtocol, thread: str, value: object, channel: str = "") -> tuple[str, bytes]:
    try:
        return serde.dumps_typed(value)
    except ValueRefused as refusal:
        raise refusal.at(channel, thread) from None


def _opened(serde: SerializerProtocol, thread: str, packed: Sequence[Any], channel: str = "") -> Any:  # Any: as above
    try:
        return serde.loads_typed((packed[0], packed[1]))
    except ValueUnreadable as error:
        raise error.at(channel, thread) from None


def _is_short(value: object) -> bool:
    return type(value) in _SCALARS or (type(value) is str and len(value) <= SHORT)
