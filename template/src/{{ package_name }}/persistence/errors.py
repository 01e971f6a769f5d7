"""What can be wrong with a database, each with its remedy. No text here ever holds a URL's password or query."""

from ..errors import PROGRAM, ProjectError


class BadDatabaseUrl(ProjectError):
    """The URL cannot be read.

    `reason` completes "The database URL ..." and repeats nothing of it but the scheme or the name of a parameter.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The database URL {reason}. Set DATABASE_URL to sqlite:///folder/file.db or "
            f"postgresql://user:password@host:5432/name, then type: {PROGRAM} doctor"
        )


class DatabaseUnreachable(ProjectError):
    """The URL is well-formed, but what it names cannot be opened, read or written."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(
            f"{where} cannot be used: {reason}. Mend DATABASE_URL or what it points to, then type: {PROGRAM} doctor"
        )


class SchemaMissing(ProjectError):
    """The checkpoint tables are absent, or older than the installed library needs."""

    def __init__(self, where: str, found: int, needed: int) -> None:
        state = "has no checkpoint tables" if found < 0 else f"has checkpoint tables of version {found}, not {needed}"
        super().__init__(f"{where} {state}. Type: {PROGRAM} migrate")


class SchemaDamaged(ProjectError):
    """The recorded version says that every table is there, and one is not: a migration would not create it again."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where} lost a checkpoint table after its migration. Restore the database from its backup, or, if no "
            f"thread in it matters, drop the table checkpoint_migrations, then type: {PROGRAM} migrate"
        )


class MigrationBusy(ProjectError):
    """Another process holds the migration lock for longer than this one wants to wait."""

    def __init__(self, where: str, waited: float) -> None:
        super().__init__(
            f"{where} is still being migrated by another process after {waited:g} s. "
            f"Let it finish or stop it, then type: {PROGRAM} migrate"
        )


class BackendMissing(ProjectError):
    """The project was generated without the module for this kind of database."""

    def __init__(self, scheme: str, backend: str) -> None:
        super().__init__(
            f"This project was generated without the code for {scheme}:// databases. "
            f"Type: copier update -d backend={backend}"
        )
