"""What is needed of a store: items of bytes, in partitions, in the order of their keys, changed some at a time."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Key = tuple[str, str]  # the partition and the key in it; both are text without NUL, and keys are compared as UTF-8

Expected = bytes | None | Literal[True]
"""What an item is expected to be: these bytes, not there, or there."""

END = "\U0010ffff"  # after every key


@dataclass(frozen=True, slots=True)
class Span:
    """The items of a partition whose keys are not less than `first` and less than `last`."""

    partition: str
    first: str = ""
    last: str = END
    limit: int | None = None
    backwards: bool = False  # from the last one
    bare: bool = False  # keys only; the bytes are empty


@dataclass(frozen=True, slots=True)
class Change:
    """What is done together, or not at all, and only if the expectations hold."""

    puts: Mapping[Key, bytes] = field(default_factory=dict)
    drops: Collection[Key] = ()
    clears: Collection[str] = ()  # partitions that are to be empty; see `Items.change`
    expects: Mapping[Key, Expected] = field(default_factory=dict)
    announce: bool = False  # let `changes` return in every process


class Items(Protocol):
    """The store. All calls wait out a short outage, so that a change may be made twice. They raise DatabaseUnreachable.

    What was changed is seen by every read that begins after that, in all processes.
    """

    @property
    def where(self) -> str:
        """The store's name in errors."""

    @property
    def forgets(self) -> bool:
        """Whether its server may come back without what it had confirmed, as one with a disk that lags behind."""

    def now(self) -> float:
        """Return the time of the store's clock, or as good as that: seconds since 1970."""

    async def get(self, keys: Sequence[Key]) -> list[bytes | None]:
        """Return items, None for those that are not there."""

    async def read(self, *spans: Span) -> list[list[tuple[str, bytes]]]:
        """Return the keys and the bytes of each span's items."""

    async def change(self, change: Change) -> Key | None:
        """Make a change; return the first key whose expectation does not hold, and nothing is changed then.

        A store whose changes are of a limited size clears partitions before the rest of the change, item by item in the
        order of their keys, and drops items one by one if nothing is put or expected with it. Raises CheckpointRefused
        for what the store does not take.
        """

    async def facts(self) -> list[str]:
        """Return what the store says of itself, in words: for `doctor`."""

    @property
    def ticks(self) -> int:
        """Grows with every announced change that this process hears of."""

    async def changes(self, since: int, pause: float) -> None:
        """Return when there was an announced change since `ticks` was `since`, or after `pause` seconds."""
