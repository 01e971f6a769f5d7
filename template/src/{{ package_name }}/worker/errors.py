"""What can be wrong with the queue, each with its remedy."""

from ..errors import PROGRAM, ProjectError


class QueueNeedsPostgres(ProjectError):
    """The threads are in a file of this machine, which has no queue."""

    def __init__(self) -> None:
        super().__init__(
            "workers need PostgreSQL, and the database is a SQLite file: set DATABASE_URL to "
            f"postgresql://user:password@host:5432/name, then type: {PROGRAM} migrate"
        )


class QueueMissing(ProjectError):
    """The queue's tables are absent."""

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} has no queue. Type: {PROGRAM} migrate")


class QueueUnknown(ProjectError):
    """The queue's tables were made by another version of procrastinate."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where} has the tables of another version of procrastinate. If no other program uses them, drop what is "
            f"named procrastinate_*, then type: {PROGRAM} migrate (no run is lost: all are in agent_runs); else give "
            "this project a database of its own"
        )


class BadSchedule(ProjectError):
    """PURGE_SCHEDULE cannot be read."""

    def __init__(self, given: str) -> None:
        super().__init__(f"PURGE_SCHEDULE={given!r} is no cron expression: write it as in '30 3 * * *'")


class WorkerEnded(ProjectError):
    """A part of the worker has ended, and so the others were stopped."""

    def __init__(self, part: str, why: str) -> None:
        super().__init__(f"the worker's {part} has ended ({why}); its runs were handed over. Start it again")
