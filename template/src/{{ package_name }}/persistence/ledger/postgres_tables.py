"""The ledger's tables in PostgreSQL, which `migrate` makes."""

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from .postgres_store import spelled
from .tables import CREATE_VERSIONS, NOTE_VERSION, VERSION, VERSIONS


async def create_tables(connection: AsyncConnection[DictRow]) -> list[str]:
    """Bring the tables to KNOWN_VERSION and return what was done, a line each.

    Only one process does so at a time, by `migrate`'s lock. Who is killed in the middle is followed by one who does all
    of that version's steps again.
    """
    await connection.execute(CREATE_VERSIONS)
    row = await (await connection.execute(VERSION)).fetchone()
    before = (row and row["v"]) or 0
    done = []
    for version, steps in VERSIONS.items():
        if version > before:
            for what, statement in steps:
                await connection.execute(spelled(statement).replace("%%", "%"))
                done.append(f"ledger version {version}: {what}")
            await connection.execute(NOTE_VERSION, {"v": version})
    return done
