"""The queries of `postgres_inspection`."""

_SESSION = """
    {0}.pid,
    coalesce(nullif({1}.application_name, ''), {1}.backend_type, 'unknown') AS name,
    coalesce(host({1}.client_addr), '') AS client,
    coalesce({1}.state, 'unknown') AS state,
    extract(epoch FROM clock_timestamp() - coalesce({1}.xact_start, {1}.state_change))::int AS seconds"""
_OURS = """
    to_regclass('checkpoints'), to_regclass('checkpoint_blobs'), to_regclass('checkpoint_writes'),
    to_regclass('checkpoint_migrations'), to_regclass('agent_runs'), to_regclass('agent_questions'),
    to_regclass('agent_audit')"""

PLACE = """
SELECT
    current_database() AS database,
    (SELECT oid FROM pg_database WHERE datname = current_database())::bigint AS number,
    coalesce(
        (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('checkpoints')), current_schema()
    ) AS schema,
    current_setting('server_version') AS version,
    coalesce(host(inet_server_addr()), '') AS address,
    current_setting('port') AS port,
    extract(epoch FROM clock_timestamp())::float8 AS now
"""
SYSTEM = "SELECT system_identifier::text AS system FROM pg_control_system()"

ROOM = """
SELECT
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS most
"""
CLIENTS = """
SELECT
    coalesce(nullif(application_name, ''), 'unknown') AS name, coalesce(host(client_addr), '') AS client,
    count(*) AS number
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
GROUP BY 1, 2
ORDER BY 3 DESC, 1, 2
"""

WAITS = f"""
SELECT
    waiting.pid AS waiting_pid,
    coalesce(nullif(waiting.application_name, ''), waiting.backend_type, 'unknown') AS waiting_name,
    coalesce(host(waiting.client_addr), '') AS waiting_client,
    coalesce(waiting.state, 'unknown') AS waiting_state,
    left(regexp_replace(coalesce(waiting.query, ''), '\\s+', ' ', 'g'), 60) AS statement,
    extract(epoch FROM clock_timestamp() - since)::float8 AS waited,
    {_SESSION.format("blocker", "blocking")}
FROM (
    SELECT pid, min(waitstart) AS since FROM pg_locks WHERE NOT granted GROUP BY pid
) AS refused
JOIN pg_stat_activity AS waiting USING (pid)
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocker (pid)
LEFT JOIN pg_stat_activity AS blocking ON blocking.pid = blocker.pid
WHERE waiting.datname = current_database() AND since < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY since, waiting.pid
"""  # noqa: S608 - of constants

# What storing for a run needs: the tables, the thread's line and its rows.
SET_LOCK_TIMEOUT = "SELECT set_config('lock_timeout', %(timeout)s, true)"
LOCK_TABLES = "LOCK TABLE checkpoints, checkpoint_blobs, checkpoint_writes, agent_questions IN ROW EXCLUSIVE MODE"
LOCK_RUNS = """
SELECT 1 FROM agent_runs WHERE thread_id = %(thread)s AND status IN ('queued', 'running', 'waiting') FOR NO KEY UPDATE
"""

HAS_QUEUE = "SELECT to_regclass('procrastinate_workers') IS NOT NULL AS has"
QUEUE = """
SELECT
    count(*) FILTER (WHERE last_heartbeat > clock_timestamp() - make_interval(secs => %(seconds)s)) AS alive,
    count(*) FILTER (WHERE last_heartbeat <= clock_timestamp() - make_interval(secs => %(seconds)s)) AS silent,
    extract(epoch FROM clock_timestamp() - max(last_heartbeat))::float8 AS last,
    (
        SELECT count(*) FROM procrastinate_jobs
        WHERE queue_name = 'runs' AND status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= clock_timestamp())
    ) AS waiting
FROM procrastinate_workers
"""
JOB = """
SELECT status::text AS status, coalesce(extract(epoch FROM scheduled_at - clock_timestamp()), 0)::float8 AS due
FROM procrastinate_jobs
WHERE status IN ('todo', 'doing') AND args ->> 'run_id' = %(run)s
ORDER BY status = 'doing' DESC, due
LIMIT 1
"""

SCHEMAS = """
SELECT nspname AS schema
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relname = 'checkpoints' AND relkind IN ('r', 'p') AND has_table_privilege(pg_class.oid, 'SELECT')
    AND has_schema_privilege(relnamespace, 'USAGE')
    AND (%(everywhere)s OR pg_class.oid IS DISTINCT FROM to_regclass('checkpoints'))
ORDER BY 1
"""
DATABASES = """
SELECT datname AS database FROM pg_database
WHERE datallowconn AND NOT datistemplate AND datname <> current_database()
    AND has_database_privilege(datname, 'CONNECT')
ORDER BY 1
LIMIT %(limit)s
"""
FIND_THREAD = "SELECT 1 AS found FROM {} WHERE thread_id = %(thread)s LIMIT 1"

# The key of an advisory lock stands in two columns.
MIGRATING = f"""
SELECT {_SESSION.format("holder", "holder")}
FROM pg_locks
JOIN pg_stat_activity AS holder USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND classid::bigint = %(key)s::bigint >> 32 AND objid::bigint = %(key)s::bigint & 4294967295
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""  # noqa: S608 - of constants
TRANSACTIONS = f"""
SELECT {_SESSION.format("holder", "holder")},
    backend_xmin IS NOT NULL AS snapshot,
    ARRAY(
        SELECT DISTINCT relation::regclass::text FROM pg_locks
        WHERE pg_locks.pid = holder.pid AND granted AND relation IN ({_OURS})
    ) AS tables
FROM pg_stat_activity AS holder
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND xact_start < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY xact_start
"""  # noqa: S608 - of constants
TIMEOUTS = """
SELECT name, setting || coalesce(unit, '') AS setting FROM pg_settings
WHERE name IN ('lock_timeout', 'statement_timeout', 'idle_in_transaction_session_timeout')
ORDER BY name
"""
SEES_ALL = "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees"
