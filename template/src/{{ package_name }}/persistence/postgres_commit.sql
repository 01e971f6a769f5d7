-- One batch of group commit: the rows of many checkpoints, in one statement and so in one transaction.
--
-- The columns come as JSON, which Python makes in one go and PostgreSQL takes apart: as arrays, one for each column, they
-- would cost the client three times as much. The parameter `blob` is all blobs in one piece; a row has its place in it.
-- The tables and what happens on a conflict are those of langgraph-checkpoint-postgres.

WITH stored_blobs AS (
    INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT thread_id, checkpoint_ns, channel, version, type, substr(%(blob)b::bytea, at, size)
    FROM json_to_recordset(%(blobs)s) AS row (
        thread_id text, checkpoint_ns text, channel text, version text, type text, at int, size int
    )
    ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
), stored_writes AS (
    INSERT INTO checkpoint_writes (
        thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
    )
    SELECT
        thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type,
        substr(%(blob)b::bytea, at, size)
    FROM json_to_recordset(%(writes)s) AS row (
        thread_id text, checkpoint_ns text, checkpoint_id text, task_id text, task_path text, idx int,
        channel text, type text, at int, size int
    )
    ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO NOTHING
), overwritten_writes AS (
    INSERT INTO checkpoint_writes (
        thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
    )
    SELECT
        thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type,
        substr(%(blob)b::bytea, at, size)
    FROM json_to_recordset(%(overwrites)s) AS row (
        thread_id text, checkpoint_ns text, checkpoint_id text, task_id text, task_path text, idx int,
        channel text, type text, at int, size int
    )
    ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
    DO UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob
)
INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
SELECT thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata
FROM json_to_recordset(%(checkpoints)s) AS row (
    thread_id text, checkpoint_ns text, checkpoint_id text, parent_checkpoint_id text, checkpoint jsonb,
    metadata jsonb
)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata
