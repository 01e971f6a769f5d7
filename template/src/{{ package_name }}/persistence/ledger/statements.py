"""The ledger's statements. Each that moves a run names the statuses that it moves from, as `records.MOVES` has them.

`%(name)s` is a parameter, `<word>` a word of the dialect; `<run>` and `<question>` are what is read of a row, `<first>`
holds for a run that no other one of its thread goes before. `<given: ...>` are the parameters as a row, or rows: on
a server such a statement is sent once for many runs.

What these look for, they are to find by the run's or the thread's index, whatever the planner believes of a table that
has grown since the last ANALYZE. The indexes on the statuses hold thousands of dead entries after a burst of runs:
`status || ''` keeps a statement away from them. `OFFSET 0` lets a question be asked for each row: the planner would
make a join of it, which might read all.
"""

# Accepting. A run that nobody is in the way of is accepted and claimed with one statement.
BEGIN = """
WITH given AS (
    <given: run text, thread text, input_type text, input <blob>, holder text, graph_version text, release text>
)
INSERT INTO agent_runs (
    run_id, thread_id, status, attempt, input_type, input, holder, beat_at, graph_version, release, accepted_at,
    changed_at
)
SELECT
    run, thread, 'running', 1, input_type, input, holder, <now>, graph_version, release, <now>, <now>
FROM given
WHERE NOT EXISTS (
    SELECT 1 FROM agent_runs WHERE thread_id = given.thread AND status IN ('queued', 'running', 'waiting')
    LIMIT 1 OFFSET 0
)
ORDER BY thread
ON CONFLICT DO NOTHING
RETURNING <run>, <blank> AS blank
"""
ACCEPT = """
INSERT INTO agent_runs (
    run_id, thread_id, status, input_type, input, graph_version, release, accepted_at, changed_at
)
VALUES (
    %(run)s, %(thread)s, 'queued', %(input_type)s, %(input)s, %(graph_version)s, %(release)s, <now>, <now>
)
ON CONFLICT (run_id) DO NOTHING
RETURNING <run>
"""
FOLLOW = """
UPDATE agent_runs
SET followed = 1, wish = CASE WHEN status = 'running' AND %(mode)s = 'interrupt' THEN 'drain' ELSE wish END
WHERE thread_id = %(thread)s AND status IN ('queued', 'running', 'waiting') AND run_id <> %(run)s
RETURNING run_id
"""

# Reading.
RUN = "SELECT <run> FROM agent_runs WHERE run_id = %(run)s"
LOCKED_RUN = "SELECT <run> FROM agent_runs WHERE run_id = %(run)s <lock>"
LINE = """
SELECT <run> FROM agent_runs
WHERE thread_id = %(thread)s AND status IN ('queued', 'running', 'waiting')
ORDER BY position
"""
NEWEST = "SELECT <run> FROM agent_runs WHERE thread_id = %(thread)s ORDER BY position DESC LIMIT %(limit)s"
INPUT = "SELECT thread_id, input_type, input FROM agent_runs WHERE run_id = %(run)s"
HEAD = """
SELECT max(checkpoint_id) AS head FROM checkpoints WHERE thread_id = %(thread)s AND checkpoint_ns = ''
"""
LOST = """
SELECT <run> FROM agent_runs
WHERE status = 'running' AND beat_at < <ago>
ORDER BY beat_at
LIMIT %(limit)s
"""
STRANDED = """
SELECT <run> FROM agent_runs
WHERE status = 'queued' AND changed_at < <ago> AND <first>
ORDER BY position
LIMIT %(limit)s
"""
COUNTS = "SELECT status, count(*) AS runs FROM agent_runs GROUP BY status"

# Executing. A holder's name is its own for each claim, so a claim that is repeated because its answer was lost finds
# itself.
CLAIM = """
WITH given AS (
    <given: run text, new_holder text>
), mine AS (
    SELECT run_id FROM agent_runs
    WHERE run_id IN (SELECT run FROM given) AND status || '' = 'queued' AND <first>
    ORDER BY run_id <lock>
)
UPDATE agent_runs
SET status = 'running', attempt = attempt + 1, holder = new_holder, beat_at = <now>, changed_at = <now>, wish = ''
FROM given
WHERE run_id = given.run AND run_id IN (SELECT run_id FROM mine)
RETURNING <run>, input_type, input, <blank> AS blank
"""
TAKE_OVER = """
UPDATE agent_runs
SET attempt = attempt + 1, holder = %(holder)s, beat_at = <now>, wish = '', crashes = %(crashes)s,
    stalled_at = %(head)s
WHERE run_id = %(run)s AND status = 'running' AND attempt = %(attempt)s
RETURNING <run>
"""
REQUEUE = """
UPDATE agent_runs
SET status = 'queued', attempt = attempt + 1, beat_at = NULL, wish = '', changed_at = <now>, crashes = %(crashes)s,
    stalled_at = %(head)s
WHERE run_id = %(run)s AND status = 'running' AND attempt = %(attempt)s
RETURNING <run>
"""
BEAT = """
UPDATE agent_runs SET beat_at = <now>
WHERE run_id IN (
    SELECT run_id FROM agent_runs WHERE run_id IN (<runs>) AND status = 'running' ORDER BY run_id <lock>
)
RETURNING run_id
"""
WATCH = """
SELECT <run> FROM agent_runs
WHERE run_id IN (<runs>) AND (status <> 'running' OR wish <> '' OR holder NOT IN (<holders>))
"""
# `followed`: another run of the thread has been accepted meanwhile, which is to be made ready in the same transaction.
# `asked`: the run has questions, of which some may be open. Most runs have neither, and end with one statement.
SETTLE_ALONE = """
WITH given AS (
    <given: run text, lease int, becomes text, why text>
), mine AS (
    SELECT run_id FROM agent_runs
    WHERE (run_id, attempt) IN (SELECT run, lease FROM given) AND status || '' = 'running'
        AND followed = 0 AND asked = 0
    ORDER BY run_id <lock>
)
UPDATE agent_runs
SET status = becomes, error = why, changed_at = <now>, beat_at = NULL, wish = '', retries = 0, crashes = 0
FROM given
WHERE run_id = given.run AND run_id IN (SELECT run_id FROM mine)
RETURNING <run>
"""
SETTLE = """
UPDATE agent_runs
SET status = %(status)s, error = %(error)s, changed_at = <now>, beat_at = NULL, wish = '',
    retries = %(retries)s, crashes = %(crashes)s, asked = %(asked)s
WHERE run_id = %(run)s AND status = 'running' AND attempt = %(attempt)s
RETURNING <run>
"""
# By somebody else than its holder. The attempt is raised, so the holder cannot write any more.
MOVE = """
UPDATE agent_runs
SET status = %(status)s, error = %(error)s, changed_at = <now>, beat_at = NULL, wish = '', attempt = attempt + 1,
    retries = 0, crashes = 0
WHERE run_id = %(run)s AND status = %(was)s AND attempt = %(attempt)s
RETURNING <run>
"""
NEXT_IN_LINE = """
SELECT <run> FROM agent_runs
WHERE thread_id = %(thread)s AND status = 'queued' AND <first>
"""

# The fence; a server with a group commit has its own.
HELD = "SELECT 1 AS held FROM agent_runs WHERE run_id = %(run)s AND attempt = %(attempt)s AND status = 'running'"
GIVE_INPUT = "UPDATE agent_runs SET input_type = NULL, input = NULL WHERE run_id = %(run)s"
GIVE_ANSWER = """
UPDATE agent_questions SET state = 'delivered' WHERE run_id = %(run)s AND question_id = %(question)s
"""

# Questions.
ASK = """
INSERT INTO agent_questions (
    run_id, question_id, thread_id, node, payload_type, payload, schema, asked_at, until, state
)
VALUES (
    %(run)s, %(question)s, %(thread)s, %(node)s, %(payload_type)s, %(payload)s, %(schema)s, <now>, <soon>, 'open'
)
ON CONFLICT (run_id, question_id) DO UPDATE  -- it was closed when the run failed, and the run has been tried again
SET state = 'open', asked_at = excluded.asked_at, until = excluded.until, reminded = 0,
    answer_type = NULL, answer = NULL, actor = '', answered_at = NULL
WHERE agent_questions.state IN ('withdrawn', 'expired')
RETURNING question_id
"""
QUESTIONS_OF_RUN = "SELECT <question> FROM agent_questions WHERE run_id = %(run)s ORDER BY asked_at, question_id"
QUESTION = """
SELECT <question> FROM agent_questions WHERE thread_id = %(thread)s AND question_id = %(question)s
ORDER BY asked_at DESC
"""
OPEN_QUESTIONS = """
SELECT <question> FROM agent_questions WHERE state = 'open' ORDER BY asked_at, question_id LIMIT %(limit)s
"""
OVERDUE = """
SELECT <question> FROM agent_questions
WHERE state = 'open' AND until < <now> AND reminded = 0
ORDER BY until
LIMIT %(limit)s
"""
REMINDED = """
UPDATE agent_questions SET reminded = 1 WHERE run_id = %(run)s AND question_id = %(question)s AND reminded = 0
RETURNING question_id
"""
ANSWER = """
UPDATE agent_questions
SET state = 'answered', answer_type = %(answer_type)s, answer = %(answer)s, actor = %(actor)s, answered_at = <now>
WHERE run_id = %(run)s AND question_id = %(question)s AND state = 'open'
RETURNING question_id
"""
CLOSE_QUESTIONS = """
UPDATE agent_questions SET state = %(state)s
WHERE run_id = %(run)s AND state IN ('open', 'answered') AND question_id NOT IN (<questions>)
RETURNING question_id
"""
REQUEUE_ANSWERED = """
UPDATE agent_runs SET status = 'queued', changed_at = <now>, attempt = attempt + 1
WHERE run_id = %(run)s AND status = 'waiting'
RETURNING <run>
"""

# The audit.
NOTE = """
INSERT INTO agent_audit (at, kind, thread_id, run_id, question_id, actor, detail)
VALUES (<now>, %(kind)s, %(thread)s, %(run)s, %(question)s, %(actor)s, %(detail)s)
"""
AUDIT = """
SELECT at, kind, thread_id, run_id, question_id, actor, detail FROM agent_audit
WHERE thread_id = %(thread)s
ORDER BY entry DESC
LIMIT %(limit)s
"""

# Forgetting.
FORGET_RUNS = """
DELETE FROM agent_runs WHERE thread_id = %(thread)s AND status NOT IN ('queued', 'running', 'waiting')
"""
FORGET_QUESTIONS = """
DELETE FROM agent_questions WHERE thread_id = %(thread)s AND run_id NOT IN (
    SELECT run_id FROM agent_runs WHERE thread_id = %(thread)s
)
"""
