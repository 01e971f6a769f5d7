"""Values as bytes, for a store that seals nothing."""

from collections.abc import Sequence
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from ..errors import ValueRefused


class Unsealed:
    """Part of a store; see `store`."""

    def __init__(self, serde: SerializerProtocol) -> None:
        """Pack with this serializer."""
        self._serde = serde

    @property
    def sealed(self) -> bool:
        """Never: see `open_checkpointer`."""
        return False

    def pack(self, thread: str, place: Sequence[str], value: object) -> tuple[str, bytes]:
        """Return a value's type and bytes."""
        try:
            return self._serde.dumps_typed(value)
        except ValueRefused as refusal:
            raise refusal.at(place[0], thread) from None

    def unpack(self, thread: str, place: Sequence[str], kind: str, packed: bytes) -> Any:  # Any: what was packed
        """Return a stored value."""
        return self._serde.loads_typed((kind, packed))
