"""procrastinate's tables, in the project's database: `migrate` makes them, and a start looks whether they are there."""

from procrastinate.schema import SchemaManager
from psycopg import AsyncConnection
from psycopg.rows import DictRow

from .errors import QueueMissing, QueueUnknown

# What 3.10 calls. Its tables are known by the functions that came with them.
LOOK = """
SELECT
    to_regclass('procrastinate_jobs') IS NOT NULL AS there,
    (
        SELECT count(*) FROM unnest(ARRAY[
            'procrastinate_defer_jobs_v1', 'procrastinate_defer_periodic_job_v2', 'procrastinate_fetch_job_v2',
            'procrastinate_finish_job_v1', 'procrastinate_register_worker_v1', 'procrastinate_update_heartbeat_v1'
        ]) AS needed
        WHERE to_regproc(needed) IS NULL
    ) = 0 AS known,
    ARRAY(
        SELECT format('%s ON %s.%I', string_agg(needed, ', ' ORDER BY place), relnamespace::regnamespace, relname)
        FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY AS one (needed, place)
        WHERE pg_class.oid IN (
                to_regclass('procrastinate_jobs'), to_regclass('procrastinate_events'),
                to_regclass('procrastinate_periodic_defers'), to_regclass('procrastinate_workers')
            )
            AND NOT has_table_privilege(pg_class.oid, needed)
        GROUP BY relnamespace, relname
    ) || ARRAY(
        SELECT format('USAGE ON SEQUENCE %s.%I', relnamespace::regnamespace, relname)
        FROM pg_class
        WHERE pg_class.oid IN (
                to_regclass('procrastinate_jobs_id_seq'), to_regclass('procrastinate_events_id_seq'),
                to_regclass('procrastinate_periodic_defers_id_seq')
            )
            AND NOT has_sequence_privilege(pg_class.oid, 'USAGE')
        ORDER BY relname
    ) AS lacking
"""


async def create_queue(connection: AsyncConnection[DictRow], where: str) -> list[str]:
    """Make the tables and return what was done, a line. Raises QueueUnknown for those of another version.

    Only one process does so at a time, by `migrate`'s lock. Sent as it stands, without parameters and not prepared, the
    whole schema is one transaction: who is killed in the middle leaves nothing behind.
    """
    row = await look_at_queue(connection)
    if row["there"]:
        check_queue(row, where)
        return []
    await connection.execute(SchemaManager.get_schema())
    return ["queue: procrastinate's tables"]


def check_queue(row: DictRow, where: str) -> None:
    """Raise QueueMissing or QueueUnknown for a database in which no job can be made."""
    if not row["there"]:
        raise QueueMissing(where)
    if not row["known"]:
        raise QueueUnknown(where)


async def look_at_queue(connection: AsyncConnection[DictRow]) -> DictRow:
    """Return LOOK's row; `lacking` are rights, as GRANT names them."""
    row = await (await connection.execute(LOOK)).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return row
