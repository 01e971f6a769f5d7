"""The statements of `postgres_retention`, on the unchanged tables of langgraph-checkpoint-postgres."""

# The planner's guess; a negative number is a share of the rows.
ESTIMATE = """
SELECT CASE WHEN s.n_distinct < 0 THEN -s.n_distinct * t.reltuples ELSE s.n_distinct END AS threads
FROM pg_class AS t
JOIN pg_stats AS s ON s.schemaname = t.relnamespace::regnamespace::name AND s.tablename = t.relname
WHERE t.oid = to_regclass('checkpoints') AND s.attname = 'thread_id'
"""

# Jumps from one thread to the next in the primary keys, however many rows each has.
PAGE = """
WITH RECURSIVE found AS (
    SELECT
        least(
            (SELECT min(thread_id) FROM checkpoints WHERE thread_id > %(after)s::text),
            (SELECT min(thread_id) FROM checkpoint_writes WHERE thread_id > %(after)s::text)
        ) AS thread_id,
        1 AS number
    UNION ALL
    SELECT
        least(
            (SELECT min(c.thread_id) FROM checkpoints AS c WHERE c.thread_id > found.thread_id),
            (SELECT min(w.thread_id) FROM checkpoint_writes AS w WHERE w.thread_id > found.thread_id)
        ),
        number + 1
    FROM found
    WHERE found.thread_id IS NOT NULL AND number < %(limit)s
)
SELECT
    found.thread_id,
    coalesce(root.head, '') AS head,
    coalesce(root.head, leftover.newest) AS newest,
    EXISTS (
        SELECT 1 FROM checkpoint_writes AS w
        WHERE w.thread_id = found.thread_id
            AND w.checkpoint_ns = ''
            AND w.checkpoint_id = root.head
            AND w.channel = '__interrupt__'
    ) AS asks,
    %(keep)s::int IS NOT NULL AND EXISTS (
        SELECT 1 FROM checkpoints AS c
        WHERE c.thread_id = found.thread_id
        GROUP BY c.checkpoint_ns
        HAVING count(*) > %(keep)s::int
    ) AS long
FROM found
CROSS JOIN LATERAL (
    SELECT max(c.checkpoint_id) AS head
    FROM checkpoints AS c
    WHERE c.thread_id = found.thread_id AND c.checkpoint_ns = ''  -- the namespaces of sub-graphs are not threads
) AS root
LEFT JOIN LATERAL (
    SELECT greatest(
        (SELECT max(c.checkpoint_id) FROM checkpoints AS c WHERE c.thread_id = found.thread_id),
        (SELECT max(w.checkpoint_id) FROM checkpoint_writes AS w WHERE w.thread_id = found.thread_id)
    ) AS newest
    WHERE root.head IS NULL
) AS leftover ON true
WHERE found.thread_id IS NOT NULL
ORDER BY found.thread_id
"""

COUNT = """
SELECT
    (SELECT count(*) FROM checkpoints WHERE thread_id = %(thread)s) AS checkpoints,
    (SELECT count(*) FROM checkpoint_blobs WHERE thread_id = %(thread)s) AS blobs,
    (SELECT count(*) FROM checkpoint_writes WHERE thread_id = %(thread)s) AS writes
"""

# A deletion that the server forgets in a crash is made again by the next purge: it need not wait for the disk, for
# which the runs wait. Nor may it stand in a queue for a lock, where statements of runs would queue behind it.
LIGHTLY = "SELECT set_config('synchronous_commit', 'off', true), set_config('lock_timeout', '1s', true)"

DELETE = """
WITH
decided AS (
    SELECT 1
    WHERE %(head)s = coalesce(
        (SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = %(thread)s AND checkpoint_ns = ''), ''
    )
    AND NOT EXISTS (
        SELECT 1 FROM checkpoint_writes
        WHERE thread_id = %(thread)s AND checkpoint_ns = '' AND checkpoint_id = %(head)s
    )
),
gone_checkpoints AS (
    DELETE FROM checkpoints WHERE thread_id = %(thread)s AND EXISTS (SELECT 1 FROM decided) RETURNING 1
),
gone_blobs AS (
    DELETE FROM checkpoint_blobs WHERE thread_id = %(thread)s AND EXISTS (SELECT 1 FROM decided) RETURNING 1
),
gone_writes AS (
    DELETE FROM checkpoint_writes WHERE thread_id = %(thread)s AND EXISTS (SELECT 1 FROM decided) RETURNING 1
)
SELECT
    (SELECT count(*) FROM gone_checkpoints) AS checkpoints,
    (SELECT count(*) FROM gone_blobs) AS blobs,
    (SELECT count(*) FROM gone_writes) AS writes
"""

PRESENT = """
SELECT thread_id FROM checkpoints WHERE thread_id = ANY(%(threads)s)
UNION
SELECT thread_id FROM checkpoint_blobs WHERE thread_id = ANY(%(threads)s)
UNION
SELECT thread_id FROM checkpoint_writes WHERE thread_id = ANY(%(threads)s)
"""

# JSONB as the server's own text: numbers keep every digit.
ARCHIVED = {
    "checkpoints": """
        SELECT
            thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type,
            checkpoint::text AS checkpoint, metadata::text AS metadata
        FROM checkpoints
        WHERE thread_id = %(thread)s
    """,
    "checkpoint_blobs": """
        SELECT thread_id, checkpoint_ns, channel, version, type, blob
        FROM checkpoint_blobs
        WHERE thread_id = %(thread)s
    """,
    "checkpoint_writes": """
        SELECT thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path
        FROM checkpoint_writes
        WHERE thread_id = %(thread)s
    """,
}

RESTORED = {
    "checkpoints": """
        INSERT INTO checkpoints
            (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)
        VALUES (
            %(thread_id)s, %(checkpoint_ns)s, %(checkpoint_id)s, %(parent_checkpoint_id)s, %(type)s,
            %(checkpoint)s::text::jsonb, %(metadata)s::text::jsonb
        )
    """,
    "checkpoint_blobs": """
        INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
        VALUES (%(thread_id)s, %(checkpoint_ns)s, %(channel)s, %(version)s, %(type)s, %(blob)s)
    """,
    "checkpoint_writes": """
        INSERT INTO checkpoint_writes
            (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
        VALUES (
            %(thread_id)s, %(checkpoint_ns)s, %(checkpoint_id)s, %(task_id)s, %(idx)s, %(channel)s, %(type)s, %(blob)s,
            %(task_path)s
        )
    """,
}
