"""The statements of `sqlite_retention`, on the unchanged tables of langgraph-checkpoint-sqlite."""

ESTIMATE = "SELECT count(DISTINCT thread_id) AS threads FROM checkpoints"

# Jumps from one thread to the next in the primary keys, however many rows each has.
PAGE = """
WITH RECURSIVE found (thread_id, number) AS (
    SELECT
        (
            SELECT min(thread_id) FROM (
                SELECT min(thread_id) AS thread_id FROM checkpoints WHERE thread_id > :after
                UNION ALL
                SELECT min(thread_id) FROM writes WHERE thread_id > :after
            )
        ),
        1
    UNION ALL
    SELECT
        (
            SELECT min(thread_id) FROM (
                SELECT min(c.thread_id) AS thread_id FROM checkpoints AS c WHERE c.thread_id > found.thread_id
                UNION ALL
                SELECT min(w.thread_id) FROM writes AS w WHERE w.thread_id > found.thread_id
            )
        ),
        number + 1
    FROM found
    WHERE found.thread_id IS NOT NULL AND number < :limit
),
heads AS (
    SELECT
        found.thread_id,
        (
            SELECT max(c.checkpoint_id)
            FROM checkpoints AS c
            WHERE c.thread_id = found.thread_id AND c.checkpoint_ns = ''  -- those of sub-graphs are not threads
        ) AS head
    FROM found
    WHERE found.thread_id IS NOT NULL
)
SELECT
    thread_id,
    coalesce(head, '') AS head,
    coalesce(head, (
        SELECT max(checkpoint_id) FROM (
            SELECT max(c.checkpoint_id) AS checkpoint_id FROM checkpoints AS c WHERE c.thread_id = heads.thread_id
            UNION ALL
            SELECT max(w.checkpoint_id) FROM writes AS w WHERE w.thread_id = heads.thread_id
        )
    )) AS newest,
    EXISTS (
        SELECT 1 FROM writes AS w
        WHERE w.thread_id = heads.thread_id
            AND w.checkpoint_ns = ''
            AND w.checkpoint_id = heads.head
            AND w.channel = '__interrupt__'
    ) AS asks,
    :keep IS NOT NULL AND EXISTS (
        SELECT 1 FROM checkpoints AS c
        WHERE c.thread_id = heads.thread_id
        GROUP BY c.checkpoint_ns
        HAVING count(*) > :keep
    ) AS long
FROM heads
ORDER BY thread_id
"""

COUNT = """
SELECT
    (SELECT count(*) FROM checkpoints WHERE thread_id = :thread) AS checkpoints,
    (SELECT count(*) FROM writes WHERE thread_id = :thread) AS writes
"""

# As it was when the decision was taken: the same head, with nothing pending.
UNCHANGED = """
SELECT
    :head = coalesce(
        (SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = :thread AND checkpoint_ns = ''), ''
    )
    AND NOT EXISTS (
        SELECT 1 FROM writes WHERE thread_id = :thread AND checkpoint_ns = '' AND checkpoint_id = :head
    ) AS unchanged
"""

DELETE = (
    "DELETE FROM writes WHERE thread_id = :thread",
    "DELETE FROM checkpoints WHERE thread_id = :thread",
)

PRESENT = """
SELECT thread_id FROM checkpoints WHERE thread_id IN (SELECT value FROM json_each(:threads))
UNION
SELECT thread_id FROM writes WHERE thread_id IN (SELECT value FROM json_each(:threads))
"""

# A DeltaChannel's value is spread over the writes of older checkpoints, which it counts in the metadata. A checkpoint
# without that count holds the whole value itself.
USES_DELTA = """
SELECT EXISTS (
    SELECT 1 FROM checkpoints
    WHERE thread_id = :thread
        AND (
            json_type(CAST(metadata AS TEXT), '$.counters_since_delta_snapshot') IS NOT NULL
            OR json_type(CAST(metadata AS TEXT), '$.delta_writes_versioned') IS NOT NULL
        )
) AS uses_delta
"""

# Each namespace with its floor, the oldest checkpoint to keep, and with the root graph's checkpoint that its newest one
# belongs to.
FLOORS = """
WITH
floors AS (
    SELECT
        checkpoint_ns,
        min(checkpoint_id) FILTER (WHERE number <= :keep) AS floor,
        count(*) FILTER (WHERE number > :keep) AS below,
        max(checkpoint_id) AS newest
    FROM (
        SELECT
            checkpoint_ns,
            checkpoint_id,
            row_number() OVER (PARTITION BY checkpoint_ns ORDER BY checkpoint_id DESC) AS number
        FROM checkpoints
        WHERE thread_id = :thread
    )
    GROUP BY checkpoint_ns
),
rooted AS (
    SELECT
        floors.*,
        (
            SELECT json_extract(CAST(c.metadata AS TEXT), '$.parents.""')
            FROM checkpoints AS c
            WHERE c.thread_id = :thread AND c.checkpoint_ns = floors.checkpoint_ns AND c.checkpoint_id = floors.newest
        ) AS root
    FROM floors
)
SELECT
    checkpoint_ns,
    floor,
    below,
    root,
    EXISTS (
        SELECT 1 FROM checkpoints AS c
        WHERE c.thread_id = :thread AND c.checkpoint_ns = '' AND c.checkpoint_id = rooted.root
    ) AS root_stored
FROM rooted
"""

DELETE_CALL = (
    "DELETE FROM writes WHERE thread_id = :thread AND checkpoint_ns = :ns",
    "DELETE FROM checkpoints WHERE thread_id = :thread AND checkpoint_ns = :ns",
)

# Writes go by the checkpoints that are there: a run may store writes before their checkpoint.
DELETE_BELOW = (
    """
    DELETE FROM writes
    WHERE thread_id = :thread
        AND checkpoint_ns = :ns
        AND checkpoint_id < :floor
        AND checkpoint_id IN (SELECT checkpoint_id FROM checkpoints WHERE thread_id = :thread AND checkpoint_ns = :ns)
    """,
    "DELETE FROM checkpoints WHERE thread_id = :thread AND checkpoint_ns = :ns AND checkpoint_id < :floor",
)

ORPHAN = """
UPDATE checkpoints SET parent_checkpoint_id = NULL
WHERE thread_id = :thread AND checkpoint_ns = :ns AND checkpoint_id >= :floor AND parent_checkpoint_id < :floor
"""

ARCHIVED = {
    "checkpoints": """
        SELECT thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata
        FROM checkpoints
        WHERE thread_id = :thread
    """,
    "writes": """
        SELECT thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value
        FROM writes
        WHERE thread_id = :thread
    """,
}

RESTORED = {
    "checkpoints": """
        INSERT INTO checkpoints
            (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
        VALUES (:thread_id, :checkpoint_ns, :checkpoint_id, :parent_checkpoint_id, :type, :checkpoint, :metadata)
    """,
    "writes": """
        INSERT INTO writes
            (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value)
        VALUES (:thread_id, :checkpoint_ns, :checkpoint_id, :task_id, :task_path, :idx, :channel, :type, :value)
    """,
}
