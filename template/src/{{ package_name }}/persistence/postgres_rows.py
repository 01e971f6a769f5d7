"""Checkpoints and writes as rows of LangGraph's own tables, as `postgres_commit` sends them.

A thread written here is read by LangGraph's saver, and the other way round. As in that saver, scalars are kept inside
the checkpoint's JSON and all other channels as blobs, one for each version of a channel. Unlike there, a scalar that
JSONB would refuse or change is a blob too: so every value is exact. With a sealing all values are blobs, and sealed.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import WRITES_IDX_MAP, ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import ERROR, _DeltaSnapshot

from .errors import BadName, SealedElsewhere, ValueRefused
from .exact_text import has_surrogates
from .postgres_json import check_name, encode, encode_checkpoint, encode_names, metadata_of, scrubbing, searchable
from .postgres_reading import RowReader
from .postgres_seal_marks import CLEAR, key_in

if TYPE_CHECKING:  # it needs `cryptography`, which a process without a key never imports
    from .postgres_sealing import Sealing

LONGEST_INLINE = 1000  # characters; a longer text would be stored again with every checkpoint that it lives through
REMEMBERED = 4096  # blobs

Key = tuple[str | int, ...]


class Row(NamedTuple):
    """One row: its primary key (which rows are sorted by), its columns as a JSON object, and its blob."""

    key: Key
    columns: str
    blob: bytes = b""


@dataclass(frozen=True, slots=True)
class Rows:
    """What one call of a saver stores. Writes overwrite those that are there, or leave them, as LangGraph decides."""

    thread_id: str
    checkpoints: Sequence[Row] = ()
    blobs: Sequence[Row] = ()
    writes: Sequence[Row] = ()
    overwrite: bool = False
    scalars: Sequence[Key] = ()  # those of the blobs that another checkpoint may hold in its JSON

    @property
    def size(self) -> int:
        """Bytes, roughly."""
        return sum(
            len(row.columns) + len(row.blob) for rows in (self.checkpoints, self.blobs, self.writes) for row in rows
        )


class StoredScalars:
    """Remembers which scalars have a blob, so that a long text which does not change is sent once and not each time.

    A scalar that did not change may stand inside the JSON of the checkpoint before, and has no blob then.
    """

    def __init__(self) -> None:
        self._keys: OrderedDict[Key, None] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._keys

    def add(self, keys: Iterable[Key]) -> None:
        """Note blobs that are committed."""
        for key in keys:
            self._keys[key] = None
            self._keys.move_to_end(key)
        while len(self._keys) > REMEMBERED:
            self._keys.popitem(last=False)


class RowFormat(RowReader):
    """How values become rows, and rows values; with a sealing, sealed."""

    def __init__(self, sealing: "Sealing | None" = None) -> None:
        super().__init__(sealing)
        self.stored = StoredScalars()

    def checkpoint_rows(
        self,
        serde: SerializerProtocol,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Rows:
        """Return the rows of a checkpoint; `new_versions` are the channels that changed since its parent.

        Raises ValueRefused, BadName, or SealingImpossible for a DeltaChannel.
        """
        thread, namespace = _ids(config)
        place = encode_names({"thread_id": thread, "checkpoint_ns": namespace})[:-1]
        inline: dict[str, Any] = {}  # Any: scalars
        blobs: list[Row] = []
        scalars: list[Key] = []
        for channel, value in checkpoint["channel_values"].items():
            if self._sealing is None and _is_json(value):
                inline[channel] = value
                continue
            if isinstance(value, _DeltaSnapshot):
                self.refuse_delta()
                inline[channel] = True  # LangGraph's mark for a snapshot in a blob
            version = checkpoint["channel_versions"].get(channel)
            key = (thread, namespace, channel, str(version))
            was_inline = self._may_have_been_inline(value)
            if version is None or (channel not in new_versions and (not was_inline or key in self.stored)):
                continue
            if was_inline:
                scalars.append(key)
            kind, blob = self._dump(serde, thread, channel, value, ("checkpoint_blobs", *key))
            columns = f'{place},"channel":{_quoted(channel)},"version":{encode(key[-1])},"type":"{kind}"}}'
            blobs.append(Row(key, columns, blob))
        whole = {
            "thread_id": thread,
            "checkpoint_ns": namespace,
            "checkpoint_id": checkpoint["id"],
            "parent_checkpoint_id": config["configurable"].get("checkpoint_id"),
            "checkpoint": {**checkpoint, "channel_values": inline},
            "metadata": metadata_of(config, metadata, thread),
        }
        if self._sealing:
            whole["metadata"] = self._sealed_metadata(self._sealing, whole, list(checkpoint["channel_values"]))
        row = Row((thread, namespace, checkpoint["id"]), encode_checkpoint(whole, thread))
        return Rows(thread, [row], blobs, scalars=scalars)

    def write_rows(
        self,
        serde: SerializerProtocol,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],  # Any: LangGraph's
        task_id: str,
        task_path: str,
    ) -> Rows:
        """Return the rows of a task's writes. Raises ValueRefused or BadName."""
        thread, namespace = _ids(config)
        checkpoint = config["configurable"]["checkpoint_id"]
        ids = {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": checkpoint, "task_id": task_id}
        place = encode_names({**ids, "task_path": scrubbing.scrub(task_path, thread, "a task's path")})[:-1]
        overwrite = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        rows: dict[Key, Row] = {}
        for position, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, position)
            key = (thread, namespace, checkpoint, task_id, index)
            kind, blob = self._dump(serde, thread, channel, value, ("checkpoint_writes", *key, channel))
            if overwrite or key not in rows:  # one after the other, the last would win, or the first
                columns = f'{place},"idx":{index},"channel":{_quoted(channel)},"type":"{kind}"}}'
                rows[key] = Row(key, columns, blob)
        return Rows(thread, writes=list(rows.values()), overwrite=overwrite)

    @property
    def sealed(self) -> bool:
        """Whether there is a key."""
        return self._sealing is not None

    def seal(self, thread: str, place: Key, kind: str, value: bytes) -> tuple[str, bytes]:
        """Return a value's type and bytes as they are stored at `place`."""
        return self._sealing.seal(thread, place, kind, value) if self._sealing else (kind, value)

    def unseal(self, thread: str, place: Key, kind: str, value: bytes) -> tuple[str, bytes]:
        """Return a stored value's type and bytes. Raises NotSealed, SealedElsewhere or SealBroken."""
        if self._sealing:
            return self._sealing.open(thread, place, kind, value)
        if key := key_in(kind):
            raise SealedElsewhere(thread, key, ())
        return kind, value

    def _may_have_been_inline(self, value: object) -> bool:
        """Whether the checkpoint before may hold the value in its JSON."""
        if self._sealing:
            return self._sealing.reads_plaintext and (value is None or isinstance(value, str | int | float))
        return type(value) is str and "\0" not in value

    def _dump(
        self, serde: SerializerProtocol, thread: str, channel: str, value: object, place: Key
    ) -> tuple[str, bytes]:
        try:
            # LangGraph keeps the text of a node's error. The serializer cannot know it from one that a node returns.
            kind, blob = serde.dumps_typed([value] if isinstance(value, BaseException) and channel != ERROR else value)
        except ValueRefused as refusal:
            raise refusal.at(channel, thread) from None
        return self._sealing.seal(thread, place, kind, blob) if self._sealing else (kind, blob)

    def _sealed_metadata(
        self,
        sealing: "Sealing",
        columns: dict[str, Any],  # Any: columns
        channels: list[str],
    ) -> dict[str, Any]:
        metadata = columns["metadata"]
        if "counters_since_delta_snapshot" in metadata:
            self.refuse_delta()
        clear = {name: searchable(metadata[name]) for name in CLEAR if name in metadata}
        hidden = {name: value for name, value in metadata.items() if name not in clear}
        thread = columns["thread_id"]
        place = ("checkpoints", thread, columns["checkpoint_ns"], columns["checkpoint_id"])
        text = encode(columns["checkpoint"])
        return sealing.seal_metadata(thread, place, text, clear=clear, hidden=hidden, channels=channels)


def check_ids(config: RunnableConfig | None) -> None:
    """Raise BadName for an id that PostgreSQL cannot hold."""
    ids = (config or {}).get("configurable", {})
    for name in ("thread_id", "checkpoint_ns", "checkpoint_id"):
        check_name(name, ids.get(name))


@lru_cache(1024)  # a graph has few channels
def _quoted(channel: str) -> str:
    """Return a channel's name as JSON. Raises BadName."""
    if "\\" in channel:  # LangGraph's query casts names to bytes, which takes it for an escape
        raise BadName("channel", channel)
    check_name("channel", channel)
    return encode(channel)


def _ids(config: RunnableConfig) -> tuple[str, str]:
    return str(config["configurable"]["thread_id"]), config["configurable"]["checkpoint_ns"]


def _is_json(value: object) -> bool:
    """Whether JSONB stores the value and gives back the same."""
    if value is None or type(value) in {bool, int}:  # a class derived from these is kept by the serializer, if at all
        return True
    if type(value) is float:  # JSONB keeps decimal numbers: no -0.0, no inf, and 1e22 comes back as an integer
        return math.isfinite(value) and "e" not in repr(value) and (value != 0 or math.copysign(1, value) > 0)
    if type(value) is str:
        return len(value) <= LONGEST_INLINE and "\0" not in value and not has_surrogates(value)
    return False
