"""What can be wrong with a database, each with its remedy. No text here ever holds a URL's password or query."""

from pathlib import Path
from typing import Self

from ..errors import PROGRAM, ProjectError


class BadDatabaseUrl(ProjectError):
    """The URL cannot be read.

    `reason` completes "The database URL ..." and repeats nothing of it but the scheme or the name of a parameter.
    """

    def __init__(self, reason: str, examples: str = "a URL as docs/persistence.md has it") -> None:
        super().__init__(f"The database URL {reason}. Set DATABASE_URL to {examples}, then type: {PROGRAM} doctor")


class DatabaseUnreachable(ProjectError):
    """The URL is well-formed, but what it names cannot be opened, read or written."""

    def __init__(self, where: str, reason: str, setting: str = "DATABASE_URL") -> None:
        super().__init__(
            f"{where} cannot be used: {reason}. Mend {setting} or what it points to, then type: {PROGRAM} doctor"
        )


class SchemaMissing(ProjectError):
    """The checkpoint tables are absent, or older than the installed library needs."""

    def __init__(self, where: str, found: int, needed: int) -> None:
        state = "has no checkpoint tables" if found < 0 else f"has checkpoint tables of version {found}, not {needed}"
        super().__init__(f"{where} {state}. Type: {PROGRAM} migrate")


class LedgerMissing(SchemaMissing):
    """The tables of the runs are absent, or older than this release needs."""

    def __init__(self, where: str) -> None:
        ProjectError.__init__(self, f"{where} has no ledger of runs, or an older one. Type: {PROGRAM} migrate")


class SchemaDamaged(ProjectError):
    """The recorded version says that every table is there, and one is not: a migration would not create it again."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where} lost a checkpoint table after its migration. Restore the database from its backup, or, if no "
            f"thread in it matters, drop the table checkpoint_migrations, then type: {PROGRAM} migrate"
        )


class SchemaUnknown(ProjectError):
    """The checkpoint tables, or those that the installed library makes, are not those this release was written for."""

    def __init__(self, where: str, found: int, known: int, remedy: str) -> None:
        super().__init__(
            f"{where} has checkpoint tables of version {found}, and this release knows version {known}. {remedy}"
        )


class LedgerUnknown(SchemaUnknown):
    """The tables of the runs are of a newer release."""

    def __init__(self, where: str, found: int, known: int) -> None:
        ProjectError.__init__(
            self,
            f"{where} has a ledger of version {found}, and this release knows version {known}. A newer release "
            "migrated it: deploy that one, or type: copier update",
        )


class RightsMissing(ProjectError):
    """The role may not do with the checkpoint tables what a run has to; `lacking` has items like `INSERT ON a.b`."""

    def __init__(self, where: str, role: str, lacking: list[str]) -> None:
        grants = " ".join(f"GRANT {rights} TO {role};" for rights in lacking)
        super().__init__(f"The role {role} lacks rights in {where}. As the owner of the tables, type in psql: {grants}")


class DatabaseReadOnly(ProjectError):
    """The server answers, but takes no writes."""

    def __init__(self, where: str, *, standby: bool) -> None:
        if standby:
            super().__init__(
                f"{where} is a standby, which takes no writes. Set DATABASE_URL to the primary server; a URL that "
                "names several hosts finds it by itself with ?target_session_attrs=read-write"
            )
        else:
            super().__init__(
                f"{where} is read-only for this role: default_transaction_read_only is on. Set DATABASE_URL to a role "
                "that may write, or, as the role's owner, type in psql: "
                "ALTER ROLE name SET default_transaction_read_only = off;"
            )


class DirectUrlMissing(ProjectError):
    """The app's URL leads through a connection pooler, and there is no other for what a pooler cannot do."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where} is a connection pooler, through which no migration can run. Set "
            "DATABASE_DIRECT_URL to the server behind it; DATABASE_URL stays as it is"
        )


class DirectUrlPooled(ProjectError):
    """A migration was asked to go through a connection pooler, where its lock would exclude nobody."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where} is a connection pooler: a migration needs a connection of its own. Set "
            f"DATABASE_DIRECT_URL to the server behind it, then type: {PROGRAM} migrate"
        )


class MigrationBusy(ProjectError):
    """Another process holds the migration lock for longer than this one wants to wait."""

    def __init__(self, where: str, waited: float) -> None:
        super().__init__(
            f"{where} is still being migrated by another process after {waited:g} s. "
            f"Let it finish or stop it, then type: {PROGRAM} migrate"
        )


class MigrationBlocked(ProjectError):
    """Another session holds a lock, or an old snapshot, that a statement of the migration waits for.

    `blockers` are process id, name, state, and the seconds that its transaction has lasted (None: not to be seen).
    """

    def __init__(self, where: str, waited: float, blockers: list[tuple[int, str, str, int | None]]) -> None:
        named = [
            f"process {pid} ({name}, {state}{'' if seconds is None else f' for {seconds} s'})"
            for pid, name, state, seconds in blockers
        ]
        remedy = (
            f"end it: SELECT pg_terminate_backend({blockers[0][0]});"
            if blockers
            else "find it: SELECT * FROM pg_stat_activity ORDER BY xact_start;"
        )
        super().__init__(
            f"The migration of {where} waited {waited:g} s for {', '.join(named) or 'another session'}, and stopped so "
            f"that nobody waits behind it. Let that session finish, or {remedy} then type: {PROGRAM} migrate"
        )


class CheckpointerClosed(RuntimeError):
    """A run outlived its checkpointer: a mistake in the program, not one that a person can mend."""

    def __init__(self) -> None:
        super().__init__("the checkpointer is closed: nothing can be stored any more")


class CheckpointRefused(ProjectError):
    """The database refuses the rows of a checkpoint or of a node's writes; what other runs store is not touched."""

    def __init__(self, thread: str, cause: Exception, store: str = "The database") -> None:
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        super().__init__(
            f"{store} refuses to store the state of thread {thread[:80]!r}: {reason} ({type(cause).__name__}). "
            f"Change what the node returns, then go on from the superstep before with: {PROGRAM} resume ID"
        )
        self.__cause__ = cause


class _WrongValue(ProjectError):
    """`what` completes "... holds "; it repeats no value."""

    whole = "The state"  # where the value is, when nobody knows in which channel

    def __init__(self, what: str, remedy: str, *, channel: str = "", thread: str = "") -> None:
        self.what, self.remedy, self.channel, self.thread = what, remedy, channel, thread
        where = f"Channel {channel!r}" if channel else self.whole
        owner = f" of thread {thread!r}" if thread else ""
        super().__init__(f"{where}{owner} holds {what}. {remedy}")

    def at(self, channel: str = "", thread: str = "") -> Self:
        """Return the error with the place where the value was found."""
        return type(self)(self.what, self.remedy, channel=channel or self.channel, thread=thread or self.thread)


class ValueRefused(_WrongValue):
    """A run tries to store what a later one could not restore."""


class ValueUnreadable(_WrongValue):
    """A checkpoint holds what this program cannot restore."""

    whole = "The checkpoint"


class BadCheckpointType(ProjectError):
    """`checkpoint_types` names what no checkpoint could name. `what` completes "... holds "."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"checkpoint_types, in the agent's door, holds {what}. {remedy}")


class BadName(ProjectError):
    """A thread's id, or the name of a node or channel, has a character with which it could not be found again."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(
            f"The {what} {name[:80]!a} holds NUL, half of a character or, in a channel, a backslash, which the "
            "database does not keep in names. Choose another name"
        )


class BadCheckpointKey(ProjectError):
    """A key for checkpoints is none. `name` is the variable; `reason` completes it, and shows nothing of the key."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"{name} {reason}. Make a key with: "
            'python -c "import base64, secrets; print(base64.b64encode(secrets.token_bytes(32)).decode())"'
        )


class SealedElsewhere(ProjectError):
    """A row was sealed with a key that this process does not have; both are named by their ids."""

    def __init__(self, thread: str, needed: str, held: tuple[str, ...]) -> None:
        keys = f"and the keys at hand are {', '.join(held)}" if held else "and CHECKPOINT_KEY is not set"
        super().__init__(
            f"Thread {thread!r} is sealed with the key {needed}, {keys}. Set CHECKPOINT_KEY to that key, or, if it was "
            "replaced, add it to CHECKPOINT_KEY_OLD"
        )


class SealBroken(ProjectError):
    """A sealed row is not where, or not as, it was written. `row` completes "the ... of thread"."""

    def __init__(self, thread: str, row: str) -> None:
        super().__init__(
            f"The {row} of thread {thread!r} was changed, moved or deleted by something other than this program, which "
            "refuses to go on with it. Find out who writes to the database, and restore the thread from a backup"
        )


class NotSealed(ProjectError):
    """A row is in the clear, in a database whose rows should be sealed."""

    def __init__(self, thread: str) -> None:
        super().__init__(
            f"Thread {thread!r} has rows that were stored without a key, and CHECKPOINT_KEY is set. If they are older "
            "than the key, set CHECKPOINT_PLAINTEXT=read until such threads are gone; else somebody else wrote them"
        )


class SealingImpossible(ProjectError):
    """Encryption was asked for where there is none. `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"CHECKPOINT_KEY is set, but {reason}")


class LibraryMissing(ProjectError):
    """A library that the backend needs is not installed."""

    def __init__(self, library: str) -> None:
        super().__init__(
            f"The package of the module {library} is not installed, which this database needs: pyproject.toml names it"
            " if the project was generated for this backend. Type: uv sync"
        )


class HistoryNeeded(ProjectError):
    """A thread's state is spread over its history, so the history cannot be shortened."""

    def __init__(self, thread: str) -> None:
        super().__init__(f"thread {thread} uses a DeltaChannel, whose value is spread over all of its checkpoints")


class ThreadExists(ProjectError):
    """An archived thread would be written over one that is there."""

    def __init__(self, thread: str) -> None:
        super().__init__(f"thread {thread} is already there: type `{PROGRAM} show {thread}`; nothing was restored")


class ArchiveDamaged(ProjectError):
    """A file is not an archived thread, or not the whole of one. `reason` completes "it is damaged: ..."."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file} is damaged: {reason}. Take another copy of it; nothing was restored")


class ArchiveUnknown(ProjectError):
    """A file was written by a later version. `reason` completes "it has ..."."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file} has {reason}. Restore it with the version that wrote it; nothing was restored")


class LeaseLost(ProjectError):
    """Somebody else has taken the run over, or cancelled it: this process may not write for it any more."""

    def __init__(self, run: str, attempt: int) -> None:
        super().__init__(
            f"attempt {attempt} of run {run} was overtaken: another process has it now, or it was cancelled"
        )


class StateLost(LeaseLost):
    """The database has lost what it had confirmed: the run's checkpoint that this one follows."""

    def __init__(self, run: str, checkpoint: str) -> None:
        ProjectError.__init__(
            self,
            f"run {run} is stopped: the database has lost its checkpoint {checkpoint}, which it had confirmed. The run "
            "is begun again from the last one that there is, by whoever finds it",
        )


class ForbiddenMove(ProjectError):
    """A run cannot get from its status to that one."""

    def __init__(self, run: str, status: str, wanted: str) -> None:
        super().__init__(f"run {run} is {status} and cannot become {wanted}")
