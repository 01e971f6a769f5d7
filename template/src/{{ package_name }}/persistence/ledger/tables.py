"""The ledger's tables, and how they came to be. A version, once released, is never changed: a change is a new one."""

KNOWN_VERSION = 1

CREATE_VERSIONS = "CREATE TABLE IF NOT EXISTS agent_versions (v integer PRIMARY KEY)"
VERSION = "SELECT max(v) AS v FROM agent_versions"
NOTE_VERSION = "INSERT INTO agent_versions (v) VALUES (%(v)s) ON CONFLICT (v) DO NOTHING"

# Each statement may run twice: who migrates may be killed between two of them.
VERSIONS: dict[int, tuple[tuple[str, str], ...]] = {
    1: (
        (
            "table agent_runs",
            """
CREATE TABLE IF NOT EXISTS agent_runs (
    position <position>,
    run_id text NOT NULL UNIQUE,
    thread_id text NOT NULL,
    status text NOT NULL CHECK (status IN ('queued', 'running', 'waiting', 'done', 'failed', 'cancelled')),
    attempt integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    retries integer NOT NULL DEFAULT 0,
    stalled_at text NOT NULL DEFAULT '',
    input_type text,
    input <blob>,
    holder text NOT NULL DEFAULT '',
    beat_at <time>,
    wish text NOT NULL DEFAULT '',
    followed integer NOT NULL DEFAULT 0,
    asked integer NOT NULL DEFAULT 0,
    error text NOT NULL DEFAULT '',
    graph_version text NOT NULL DEFAULT '',
    release text NOT NULL DEFAULT '',
    accepted_at <time> NOT NULL,
    changed_at <time> NOT NULL
)""",
        ),
        (
            "one running run a thread",
            """
CREATE UNIQUE INDEX IF NOT EXISTS agent_runs_one_running ON agent_runs (thread_id)
WHERE status = 'running'""",
        ),
        (
            "index on the line of a thread",
            "CREATE INDEX IF NOT EXISTS agent_runs_line ON agent_runs (thread_id, position)",
        ),
        (
            "index on the active runs",
            """
CREATE INDEX IF NOT EXISTS agent_runs_active ON agent_runs (status, changed_at)
WHERE status IN ('queued', 'running', 'waiting')""",
        ),
        (
            "table agent_questions",
            """
CREATE TABLE IF NOT EXISTS agent_questions (
    run_id text NOT NULL,
    question_id text NOT NULL,
    thread_id text NOT NULL,
    node text NOT NULL,
    payload_type text NOT NULL,
    payload <blob> NOT NULL,
    schema <json>,
    asked_at <time> NOT NULL,
    until <time>,
    state text NOT NULL CHECK (state IN ('open', 'answered', 'delivered', 'expired', 'withdrawn')),
    reminded integer NOT NULL DEFAULT 0,
    answer_type text,
    answer <blob>,
    actor text NOT NULL DEFAULT '',
    answered_at <time>,
    PRIMARY KEY (run_id, question_id)
)""",
        ),
        (
            "index on the open questions",
            "CREATE INDEX IF NOT EXISTS agent_questions_open ON agent_questions (asked_at) WHERE state = 'open'",
        ),
        (
            "index on the questions of a thread",
            "CREATE INDEX IF NOT EXISTS agent_questions_thread ON agent_questions (thread_id)",
        ),
        (
            "table agent_audit",
            """
CREATE TABLE IF NOT EXISTS agent_audit (
    entry <position>,
    at <time> NOT NULL,
    kind text NOT NULL,
    thread_id text NOT NULL,
    run_id text NOT NULL DEFAULT '',
    question_id text NOT NULL DEFAULT '',
    actor text NOT NULL DEFAULT '',
    detail text NOT NULL DEFAULT ''
)""",
        ),
        (
            "index on the audit of a thread",
            "CREATE INDEX IF NOT EXISTS agent_audit_thread ON agent_audit (thread_id, entry)",
        ),
        ("agent_audit is append-only", "<append_only>"),
    ),
}
