"""The ledger's tables in a SQLite file, which are made when it is opened."""

import aiosqlite

from ..errors import LedgerUnknown
from .sqlite_store import spelled
from .tables import CREATE_VERSIONS, KNOWN_VERSION, NOTE_VERSION, VERSION, VERSIONS


async def create_tables(connection: aiosqlite.Connection, where: str) -> None:
    """Bring the tables to KNOWN_VERSION, in one transaction.

    Raises LedgerUnknown for a newer version, and sqlite3.OperationalError when the file is busy.
    """
    await connection.execute(CREATE_VERSIONS)
    async with connection.execute(VERSION) as cursor:
        row = await cursor.fetchone()
    if row and row[0] == KNOWN_VERSION:
        return
    if row and row[0] and row[0] > KNOWN_VERSION:
        raise LedgerUnknown(where, row[0], KNOWN_VERSION)
    await connection.execute("BEGIN IMMEDIATE")
    try:
        for version, steps in VERSIONS.items():
            for _, statement in steps:
                await connection.execute(spelled(statement))
            await connection.execute(spelled(NOTE_VERSION), {"v": version})
        await connection.commit()
    except BaseException:
        await connection.rollback()
        raise
