"""Where threads are kept: open the checkpointer, bring its tables up to date, list the threads."""

from .errors import (
    BackendMissing,
    BadDatabaseUrl,
    DatabaseUnreachable,
    MigrationBusy,
    SchemaDamaged,
    SchemaMissing,
)
from .opening import list_threads, migrate, open_checkpointer

__all__ = [
    "BackendMissing",
    "BadDatabaseUrl",
    "DatabaseUnreachable",
    "MigrationBusy",
    "SchemaDamaged",
    "SchemaMissing",
    "list_threads",
    "migrate",
    "open_checkpointer",
]
