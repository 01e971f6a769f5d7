"""Threads in PostgreSQL: one pool of connections a process, for any number of processes and machines."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..settings import Settings
from .errors import BadCheckpointKey
from .ledger.postgres_notices import Notices
from .ledger.postgres_store import open_gathers
from .postgres_commit import GroupCommit
from .postgres_retry import PatientPool
from .postgres_rows import RowFormat
from .postgres_saver import PostgresSaver
from .postgres_schema import check_schema
from .urls import normalise


def open_format(settings: Settings) -> RowFormat:
    """Return how rows are written: sealed, if there is a key. Raises BadCheckpointKey."""
    if settings.checkpoint_key.get_secret_value():
        from .postgres_sealing import open_sealing

        return RowFormat(open_sealing(settings))
    if settings.checkpoint_key_old.get_secret_value():
        raise BadCheckpointKey("CHECKPOINT_KEY", "is empty, and CHECKPOINT_KEY_OLD is not")
    return RowFormat()


@asynccontextmanager
async def open_saver(url: str, settings: Settings, serde: JsonPlusSerializer) -> AsyncIterator[PostgresSaver]:
    """Yield a saver on a pool that closes with the context, after a look at the schema."""
    row_format = open_format(settings)
    await check_schema(url, settings)
    pool = PatientPool(url, settings)
    commit = GroupCommit(pool, settings.checkpoint_batches)
    notices = Notices(
        normalise(settings.migration_url) if settings.database_direct_url.get_secret_value() else url, settings
    )
    async with pool.pool, commit.open(), open_gathers(pool) as gathers:
        try:
            yield PostgresSaver(pool, commit, serde, row_format, notices, gathers=gathers)
        finally:
            await notices.close()
