"""The ledger's SQL in PostgreSQL's words."""

from .dialect import Dialect

# The time is always the database's: workers' clocks may be an hour apart.
POSTGRES = Dialect(
    now="clock_timestamp()",
    ago="(clock_timestamp() - make_interval(secs => %(seconds)s))",
    soon="(clock_timestamp() + make_interval(secs => %(seconds)s))",
    silent="coalesce(extract(epoch FROM clock_timestamp() - beat_at), 0)::float8",
    runs="SELECT unnest(%(runs)s::text[])",
    holders="SELECT unnest(%(holders)s::text[])",
    questions="SELECT unnest(%(questions)s::text[])",
    lock="FOR NO KEY UPDATE",
    position="bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY",
    time="timestamptz",
    blob="bytea",
    json="jsonb",
    append_only="""
DO $do$ BEGIN
    CREATE OR REPLACE FUNCTION agent_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'agent_audit is append-only'; END $$;
    DROP TRIGGER IF EXISTS agent_audit_append_only ON agent_audit;
    CREATE TRIGGER agent_audit_append_only BEFORE UPDATE OR DELETE ON agent_audit
        FOR EACH STATEMENT EXECUTE FUNCTION agent_audit_refuse();
END $do$""",
    # The condition is always true. It lets the planner expect one row: for the hundred that it expects of JSON it would
    # read the whole table, as long as its plan is from a time when that was small.
    given="SELECT * FROM json_to_recordset(%(given)s) AS given ({}) WHERE run = run || ''",
    column="{0} {1}",
)
