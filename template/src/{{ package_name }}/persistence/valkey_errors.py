"""Why a server is not used."""

from ..errors import ProjectError
from .valkey_url import MANAGED, PERSISTENCE, PREFIX


class NotPersistent(ProjectError):
    """A restart of the server would lose every thread."""

    def __init__(self, where: str, found: str) -> None:
        says = f"has appendonly {found}" if found else "does not say whether it keeps what it is given"
        super().__init__(
            f"{where} {says}: a restart would lose every thread. Type CONFIG SET appendonly yes while it runs (started"
            " with that for the first time, it forgets what its snapshot has), then set it in its configuration; or, if"
            f" the service that runs it persists in another way, add ?{PERSISTENCE}={MANAGED} to DATABASE_URL"
        )


class ForgetsKeys(ProjectError):
    """The server would drop parts of threads when its memory is full."""

    def __init__(self, where: str, policy: str) -> None:
        super().__init__(
            f"{where} has maxmemory-policy {policy}: it would drop parts of threads when its memory is full. Set it to"
            " noeviction, with which it refuses writes instead, and runs wait until there is room"
        )


class PrefixTaken(ProjectError):
    """Another project keeps its threads under the same prefix."""

    def __init__(self, where: str, prefix: str, owner: str) -> None:
        super().__init__(
            f"{where} has threads of the project {owner} under the prefix {prefix}: both would be mixed up. Add"
            f" ?{PREFIX}=NAME to DATABASE_URL, or use another database of the server"
        )
