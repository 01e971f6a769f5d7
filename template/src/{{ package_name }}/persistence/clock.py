"""New checkpoints get greater ids than those that were read, whatever this machine's clock says.

LangGraph takes a thread's greatest checkpoint id for its newest, and an id begins with the time of the machine that
made it. So on a machine whose clock is behind, if only by the milliseconds in which a run is handed over, what a run
stores would sort before what was there: its work would be gone with the next read, without a word. Hence a logical
clock (Lamport, 1978): reading a checkpoint moves this process's clock for ids to that checkpoint's time.
"""

import logging
import time
from typing import Any
from uuid import UUID

from langgraph.checkpoint.base import id as _id

logger = logging.getLogger(__name__)

ids: Any = _id  # Any: what is set here is LangGraph's own, which its uuid6() goes on from; it has no other door

VERSION = 6
EPOCH = 0x01B21DD213814000  # 1970 in UUID's time: 100 ns since 1582-10-15
SECOND = 10_000_000
END = 0xFF << 52  # in the year 5222: an id behind it was made up, and what follows would begin at 0 again
AHEAD = 5.0  # seconds that may pass without a word


def follow(checkpoint_id: str) -> None:
    """Let the ids that this process makes from now on be greater than this one. Ids of another form are left alone."""
    try:
        number = UUID(checkpoint_id).int
    except ValueError:
        return
    if number >> 76 & 0xF != VERSION:
        return
    made = (number >> 80 << 12) | (number >> 64 & 0xFFF)
    if made >= END or made <= (ids._last_v6_timestamp or 0):  # noqa: SLF001 - as above
        return
    ahead = (made - EPOCH) / SECOND - time.time()
    if ahead > AHEAD:
        logger.warning(
            "checkpoint %s is %.0f s in this machine's future: a clock is wrong. Set all by NTP (timedatectl)",
            checkpoint_id,
            ahead,
        )
    ids._last_v6_timestamp = made  # noqa: SLF001 - as above
