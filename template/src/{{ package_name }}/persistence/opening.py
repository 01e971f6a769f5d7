"""The room's door: the URL's scheme chooses the backend, whose module is imported only then."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, cast, runtime_checkable

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from ..settings import Settings
from .errors import BadDatabaseUrl, SealingImpossible
from .exact import StrictSerializer
from .sqlite_url import MEMORY
from .urls import backend_of, describe, module_of, normalise

MIGRATION_WAIT = 60.0  # seconds that `migrate` lets another process finish its migration


class _Opener(Protocol):
    def open_saver(
        self, url: str, settings: Settings, serde: JsonPlusSerializer
    ) -> AbstractAsyncContextManager[BaseCheckpointSaver[str]]: ...


class _Migrator(Protocol):
    async def migrate(self, url: str, settings: Settings, wait: float) -> list[str]: ...


@runtime_checkable
class _ListsThreads(Protocol):
    async def alist_threads(self, limit: int) -> list[str]: ...


@asynccontextmanager
async def open_checkpointer(
    url: str, *, settings: Settings | None = None, types: Iterable[type] = ()
) -> AsyncIterator[BaseCheckpointSaver[str]]:
    """Yield a checkpointer that is ready to use; its connections close with the context.

    `types` are the classes that a checkpoint may hold besides the graph's schemas (which `compile()` adds by itself):
    what holds another class is refused when it is stored. Nothing is created on a server: see `migrate`.
    Raises BadDatabaseUrl, LibraryMissing, BadCheckpointType, BadCheckpointKey or SealingImpossible, and within
    `settings.database_timeout` seconds DatabaseUnreachable or what else is wrong with the database: SchemaMissing,
    SchemaUnknown, SchemaDamaged, RightsMissing, DatabaseReadOnly, or DirectUrlMissing for a transaction pooler without
    `settings.database_direct_url`.
    """
    plain = normalise(url)
    settings = settings or Settings()
    if plain == MEMORY and settings.environment != "test":
        raise BadDatabaseUrl("is memory://, which loses every thread when the process ends: only ENVIRONMENT=test may")
    if not backend_of(plain).SEALS and settings.checkpoint_key.get_secret_value():
        raise SealingImpossible(f"{describe(plain)} is not sealed: encrypt its disk and unset the key")
    serde = StrictSerializer(types)
    opener = cast("_Opener", module_of(backend_of(plain).OPENER))
    async with opener.open_saver(plain, settings, serde) as saver:
        yield saver


async def migrate(url: str, *, settings: Settings | None = None, wait: float = MIGRATION_WAIT) -> list[str]:
    """Bring the tables up to date and return what was done, a line each, in order; nothing if they were up to date.

    Any number of processes may do so at once; one of them returns the lines. It may be killed at any point, and is then
    to be run again. It needs `settings.migration_url`, not the URL of a transaction pooler.
    Raises BadDatabaseUrl, LibraryMissing, DatabaseUnreachable, DatabaseReadOnly, DirectUrlPooled, RightsMissing,
    SchemaUnknown, SchemaDamaged, MigrationBusy when another process has not finished migrating after
    `wait` seconds, and MigrationBlocked when another session holds a lock on the tables.
    """
    plain = normalise(url)
    migrator = cast("_Migrator", module_of(backend_of(plain).MIGRATOR))
    return await migrator.migrate(plain, settings or Settings(), wait)


async def list_threads(checkpointer: BaseCheckpointSaver[str], limit: int = 20) -> list[str]:
    """Return the ids of at most `limit` threads, the one with the newest checkpoint first."""
    if limit < 1:
        raise ValueError(f"limit must be 1 or more, not {limit}")
    if not isinstance(checkpointer, _ListsThreads):
        raise TypeError(f"{type(checkpointer).__name__} cannot list threads: use one that open_checkpointer yields")
    return await checkpointer.alist_threads(limit)
