-- One batch of group commit: the rows of many checkpoints, in one statement and so in one transaction.
--
-- The columns come as JSON, which Python makes in one go and PostgreSQL takes apart: as arrays, one for each column, they
-- would cost the client three times as much. The parameter `blob` is all blobs in one piece; a row has its place in it.
-- The tables and what happens on a conflict are those of langgraph-checkpoint-postgres.
--
-- The fence: a row that is stored for a run says under which of the leases in `leases` (see `fence`). The leases that
-- are still the runs' are locked, so whoever takes a run over or cancels it comes before this statement or after it, and
-- the rows of the others drop out. What comes back are the leases that hold. What a lease gives to its graph (the input,
-- an answer) is marked as given by the statement that stores it.

WITH lease AS MATERIALIZED (
    SELECT *
    FROM json_to_recordset(%(leases)s) AS lease (number int, run_id text, attempt int, input boolean, answer text)
    -- Always true. It lets the planner expect one row: for the hundred that it expects of JSON it would read whole tables,
    -- as long as its plan is from a time when those were small.
    WHERE run_id = run_id || ''
    ORDER BY run_id
), held AS MATERIALIZED (
    SELECT lease.number, lease.run_id, lease.input, lease.answer
    FROM lease
    CROSS JOIN LATERAL (  -- a join might read the index of the running runs, which is full of dead entries after a burst
        SELECT 1
        FROM agent_runs
        WHERE run_id = lease.run_id AND attempt = lease.attempt AND status = 'running'
        FOR NO KEY UPDATE
    ) AS locked
), given_inputs AS (
    UPDATE agent_runs SET input_type = NULL, input = NULL
    WHERE run_id IN (SELECT run_id FROM held WHERE input)
), given_answers AS (
    UPDATE agent_questions SET state = 'delivered'
    WHERE (run_id, question_id) IN (SELECT run_id, answer FROM held WHERE answer <> '')
), stored_blobs AS (
    INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT thread_id, checkpoint_ns, channel, version, type, substr(%(blob)b::bytea, at, size)
    FROM json_to_recordset(%(blobs)s) AS row (
        lease int, thread_id text, checkpoint_ns text, channel text, version text, type text, at int, size int
    )
    WHERE lease IS NULL OR lease IN (SELECT number FROM held)
    ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
), stored_writes AS (
    INSERT INTO checkpoint_writes (
        thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
    )
    SELECT
        thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type,
        substr(%(blob)b::bytea, at, size)
    FROM json_to_recordset(%(writes)s) AS row (
        lease int, thread_id text, checkpoint_ns text, checkpoint_id text, task_id text, task_path text, idx int,
        channel text, type text, at int, size int
    )
    WHERE lease IS NULL OR lease IN (SELECT number FROM held)
    ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO NOTHING
), overwritten_writes AS (
    INSERT INTO checkpoint_writes (
        thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob
    )
    SELECT
        thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type,
        substr(%(blob)b::bytea, at, size)
    FROM json_to_recordset(%(overwrites)s) AS row (
        lease int, thread_id text, checkpoint_ns text, checkpoint_id text, task_id text, task_path text, idx int,
        channel text, type text, at int, size int
    )
    WHERE lease IS NULL OR lease IN (SELECT number FROM held)
    ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
    DO UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob
), stored_checkpoints AS (
    INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
    SELECT thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata
    FROM json_to_recordset(%(checkpoints)s) AS row (
        lease int, thread_id text, checkpoint_ns text, checkpoint_id text, parent_checkpoint_id text,
        checkpoint jsonb, metadata jsonb
    )
    WHERE lease IS NULL OR lease IN (SELECT number FROM held)
    ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
    DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata
)
SELECT number FROM held
