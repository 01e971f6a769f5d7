"""Rows of LangGraph's own tables as its saver reads them: opened if they are sealed, with the metadata as it was."""

from typing import TYPE_CHECKING, Any

from .errors import SealedElsewhere, SealingImpossible
from .postgres_json import restored, searchable
from .postgres_seal_marks import CLEAR, SEALED_METADATA, key_in

if TYPE_CHECKING:  # it needs `cryptography`, which a process without a key never imports
    from .postgres_sealing import Place, Sealing


class RowReader:
    """How rows become values; with a sealing, it opens them and refuses what cannot be sealed."""

    def __init__(self, sealing: "Sealing | None" = None) -> None:
        self._sealing = sealing

    def opened(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the row of a checkpoint as LangGraph's saver reads it. Any: columns.

        Raises NotSealed, SealedElsewhere or SealBroken.
        """
        thread, space, checkpoint = row["thread_id"], row["checkpoint_ns"], row["checkpoint_id"]
        if self._sealing is None:
            _refuse_sealed(row)
            return {**row, "metadata": restored(row["metadata"])}
        versions = row["checkpoint"]["channel_versions"]
        values, writes = [], []
        for name, kind, blob in row["channel_values"] or ():
            place: Place = ("checkpoint_blobs", thread, space, name.decode(), str(versions[name.decode()]))
            opened, value = self._sealing.open(thread, place, kind.decode(), blob)
            values.append([name, opened.encode(), value])
        for task, channel, kind, blob, path, index in row["pending_writes"] or ():
            place = ("checkpoint_writes", thread, space, checkpoint, task.decode(), int(index), channel.decode())
            opened, value = self._sealing.open(thread, place, kind.decode(), blob)
            writes.append([task, channel, opened.encode(), value, path, index])
        metadata = self._sealing.open_metadata(
            thread,
            ("checkpoints", thread, space, checkpoint),
            row["checkpoint"],
            row["metadata"],
            {value[0].decode() for value in values},
        )
        return {**row, "channel_values": values, "pending_writes": writes, "metadata": restored(metadata)}

    def filter(self, wanted: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return a filter by metadata as that is stored. Any: what JSON can hold. Raises SealingImpossible."""
        hidden = sorted(set(wanted or ()).difference(CLEAR)) if self._sealing else []
        if hidden:
            raise SealingImpossible(f"sealed metadata cannot be searched: nothing is found by {', '.join(hidden)}")
        return {name: searchable(value) for name, value in wanted.items()} if wanted else None

    def refuse_delta(self) -> None:
        """Raise SealingImpossible if there is a key: a DeltaChannel's value is read without the place of its rows."""
        if self._sealing:
            raise SealingImpossible(
                "a DeltaChannel cannot be sealed. Use another channel for that state, or unset the key"
            )


def _refuse_sealed(row: dict[str, Any]) -> None:  # Any: columns
    marks = [str(row["metadata"].get(SEALED_METADATA, "")).partition(":")[0]]
    marks += [kind.decode() for _, kind, _ in row["channel_values"] or ()]
    marks += [write[2].decode() for write in row["pending_writes"] or ()]
    key = next(filter(None, map(key_in, marks)), None)
    if key:
        raise SealedElsewhere(row["thread_id"], key, ())
