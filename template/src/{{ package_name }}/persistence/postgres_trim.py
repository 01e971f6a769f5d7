"""A shorter history: keep the newest checkpoints of a thread that lives, and all that they need.

Adapted from `_keep_latest` of langgraph-checkpoint-postgres 3.2, which keeps one. All statements of a thread read one
snapshot (REPEATABLE READ): what a run saves meanwhile is neither seen nor deleted. What that run's next checkpoint
needs is kept: its values are its own or its parent's, and its parent is the newest of all. The exception is a run that
goes on from an old checkpoint (a replay or fork) which this transaction deletes.

A checkpoint is named by its id, and the ids of a namespace sort by time: what is below the `floor` goes.

No statement joins two sets of a thread's rows. A join is planned from the average size of a thread, which is most wrong
for the few huge threads that are worth the work, and then takes quadratic time; so does a look-up a row, for which the
planner may take the index on the thread alone. `(... IN (SELECT ...)) IS TRUE` cannot become a join: the server hashes
the inner rows once, whatever it thinks of their number.
"""

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection, errors
from psycopg.rows import DictRow

from .errors import HistoryNeeded
from .retention import Rows

SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"

# A DeltaChannel's value is spread over the writes of older checkpoints. It leaves counters in the metadata, or a
# snapshot: the value `true` with a blob behind it.
USES_DELTA = """
SELECT
    EXISTS (
        SELECT 1 FROM checkpoints
        WHERE thread_id = %(thread)s
            AND (metadata ? 'counters_since_delta_snapshot' OR metadata ? 'delta_writes_versioned')
    )
    OR EXISTS (
        SELECT 1
        FROM checkpoints AS c CROSS JOIN LATERAL jsonb_each(c.checkpoint -> 'channel_values') AS value
        WHERE c.thread_id = %(thread)s
            AND value.value = 'true'::jsonb
            AND (
                (c.checkpoint_ns, value.key, c.checkpoint -> 'channel_versions' ->> value.key)
                IN (SELECT checkpoint_ns, channel, version FROM checkpoint_blobs WHERE thread_id = %(thread)s)
            ) IS TRUE
    ) AS uses_delta
"""

# Each namespace with its floor, the oldest checkpoint to keep, and with the root graph's checkpoint that its newest one
# belongs to. A checkpoint older than version 4 takes its pending sends from its parent, which lowers the floor.
FLOORS = """
SELECT
    checkpoint_ns,
    least(
        min(checkpoint_id) FILTER (WHERE number <= %(keep)s),
        min(parent_checkpoint_id) FILTER (WHERE number <= %(keep)s AND version < 4)
    ) AS floor,
    count(*) FILTER (WHERE number > %(keep)s) AS below,
    min(root) FILTER (WHERE number = 1) AS root,
    (
        min(root) FILTER (WHERE number = 1)
        IN (SELECT checkpoint_id FROM checkpoints WHERE thread_id = %(thread)s AND checkpoint_ns = '')
    ) IS TRUE AS root_stored
FROM (
    SELECT
        checkpoint_ns,
        checkpoint_id,
        parent_checkpoint_id,
        (checkpoint ->> 'v')::int AS version,
        metadata -> 'parents' ->> '' AS root,
        row_number() OVER (PARTITION BY checkpoint_ns ORDER BY checkpoint_id DESC) AS number
    FROM checkpoints
    WHERE thread_id = %(thread)s
) AS numbered
GROUP BY checkpoint_ns
"""

DELETE_CALLS = """
WITH
gone_checkpoints AS (
    DELETE FROM checkpoints WHERE thread_id = %(thread)s AND checkpoint_ns = ANY(%(calls)s) RETURNING 1
),
gone_blobs AS (
    DELETE FROM checkpoint_blobs WHERE thread_id = %(thread)s AND checkpoint_ns = ANY(%(calls)s) RETURNING 1
),
gone_writes AS (
    DELETE FROM checkpoint_writes WHERE thread_id = %(thread)s AND checkpoint_ns = ANY(%(calls)s) RETURNING 1
)
SELECT
    (SELECT count(*) FROM gone_checkpoints) AS checkpoints,
    (SELECT count(*) FROM gone_blobs) AS blobs,
    (SELECT count(*) FROM gone_writes) AS writes
"""

# Writes go by the checkpoints that the snapshot holds: a run may store writes before their checkpoint. A blob goes when
# a checkpoint that goes refers to it and none that stays does.
DELETE_BELOW = """
WITH
gone_writes AS (
    DELETE FROM checkpoint_writes AS w
    WHERE w.thread_id = %(thread)s
        AND w.checkpoint_ns = %(ns)s
        AND w.checkpoint_id < %(floor)s
        AND (
            w.checkpoint_id
            IN (SELECT checkpoint_id FROM checkpoints WHERE thread_id = %(thread)s AND checkpoint_ns = %(ns)s)
        ) IS TRUE
    RETURNING 1
),
gone_checkpoints AS (
    DELETE FROM checkpoints
    WHERE thread_id = %(thread)s AND checkpoint_ns = %(ns)s AND checkpoint_id < %(floor)s
    RETURNING checkpoint -> 'channel_versions' AS versions
),
garbage AS (
    SELECT version.key AS channel, version.value AS version
    FROM gone_checkpoints CROSS JOIN LATERAL jsonb_each_text(versions) AS version
    EXCEPT
    SELECT version.key, version.value
    FROM checkpoints CROSS JOIN LATERAL jsonb_each_text(checkpoint -> 'channel_versions') AS version
    WHERE thread_id = %(thread)s AND checkpoint_ns = %(ns)s AND checkpoint_id >= %(floor)s
),
gone_blobs AS (
    DELETE FROM checkpoint_blobs
    WHERE thread_id = %(thread)s
        AND checkpoint_ns = %(ns)s
        AND ((channel, version) IN (SELECT channel, version FROM garbage)) IS TRUE
    RETURNING 1
),
orphaned AS (
    UPDATE checkpoints SET parent_checkpoint_id = NULL
    WHERE thread_id = %(thread)s
        AND checkpoint_ns = %(ns)s
        AND checkpoint_id >= %(floor)s
        AND parent_checkpoint_id < %(floor)s
    RETURNING 1
)
SELECT
    (SELECT count(*) FROM gone_checkpoints) AS checkpoints,
    (SELECT count(*) FROM gone_blobs) AS blobs,
    (SELECT count(*) FROM gone_writes) AS writes
"""


@dataclass(frozen=True)
class _Plan:
    """What goes: the calls of sub-graphs, by namespace, and from each other namespace what is below its floor."""

    calls: list[str]
    floors: dict[str, str]
    checkpoints: int


async def trim(connection: AsyncConnection[DictRow], thread: str, keep: int, *, dry_run: bool) -> Rows | None:
    """Trim one thread in one transaction; see Retention.trim. The plan of each statement has to know its parameters."""
    gone = Rows()
    try:
        async with connection.transaction():
            await connection.execute(SNAPSHOT)
            plan = await _plan(connection, thread, keep)
            if dry_run:
                return Rows(checkpoints=plan.checkpoints)
            if plan.calls:
                gone = await _delete(connection, DELETE_CALLS, {"thread": thread, "calls": plan.calls}, gone)
            for ns, floor in plan.floors.items():
                gone = await _delete(connection, DELETE_BELOW, {"thread": thread, "ns": ns, "floor": floor}, gone)
    except (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable):
        return None  # another transaction has changed a row that was to go
    return gone


async def _plan(connection: AsyncConnection[DictRow], thread: str, keep: int) -> _Plan:
    delta = await (await connection.execute(USES_DELTA, {"thread": thread}, prepare=False)).fetchone()
    if delta and delta["uses_delta"]:
        raise HistoryNeeded(thread)
    cursor = await connection.execute(FLOORS, {"thread": thread, "keep": keep}, prepare=False)
    spaces = await cursor.fetchall()
    root_floor = next((space["floor"] for space in spaces if not space["checkpoint_ns"]), "")
    # The namespace of a call has its task's id behind a colon; that of a sub-graph which outlives its calls has none. A
    # call goes with the root checkpoint that it began from, if that one is stored: a call may be stored before it.
    calls = [
        space
        for space in spaces
        if ":" in space["checkpoint_ns"] and space["root_stored"] and space["root"] < root_floor
    ]
    gone = {space["checkpoint_ns"] for space in calls}
    floors = {
        space["checkpoint_ns"]: space["floor"]
        for space in spaces
        if space["below"] and space["checkpoint_ns"] not in gone
    }
    below = sum(space["below"] for space in spaces if space["checkpoint_ns"] in floors)
    return _Plan(sorted(gone), floors, below)


async def _delete(
    connection: AsyncConnection[DictRow],
    statement: str,
    values: dict[str, Any],  # Any: text and lists of text
    before: Rows,
) -> Rows:
    row = await (await connection.execute(statement, values, prepare=False)).fetchone()
    counts = row or {}
    return Rows(
        before.checkpoints + counts.get("checkpoints", 0),
        before.blobs + counts.get("blobs", 0),
        before.writes + counts.get("writes", 0),
    )
