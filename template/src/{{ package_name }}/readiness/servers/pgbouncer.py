"""A real PgBouncer for tests, in transaction mode: `with pgbouncer(server_url) as url`."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from ...errors import ProjectError
from .lifeline import Server, free_port, new_room
from .postgres_programs import unprivileged_account

POOL_SIZE = 3
"""Server connections for each database: so few that clients have to share them, which is what the tests are about."""

_ATTEMPTS = 3  # another process may take the free port before PgBouncer does
_OFF_THE_PATH = "/usr/sbin"  # where Debian puts it; only root's PATH has that

# auth_type=any lets everybody in, as the user that the entry names: only this machine reaches it, and the tests' server
# trusts its clients too. `*` takes the database's name from the client, so that each test's own one is there at once.
_CONFIGURATION = """\
[databases]
* = {server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pidfile = pid
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 500
server_tls_sslmode = {sslmode}
"""

# $1: the program. Signals are ignored, so that the last lines always run. `process end` is logged when it did not
# start. It has no state to lose, hence SIGKILL; and `$!` would be the shell of the braces, hence the file.
_LIFE = """
trap '' HUP INT PIPE TERM
{ "$1" pgbouncer.ini; echo 'process end'; } >log 2>&1 &
until grep -qs 'process [ue]' log; do sleep 0.02; done
if grep -q 'process up' log; then echo ready; read -r _; else cat log >&2; fi
kill -KILL "$(cat pid)" 2>&-
wait
rm -rf "$PWD"
"""


class PgBouncerMissing(ProjectError):
    """The machine has no PgBouncer, or it does not start."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"No PgBouncer for the tests: {reason}. NOTHING is tested through it until you install it "
            "(Debian, Ubuntu: apt install pgbouncer; macOS: brew install pgbouncer)"
        )


@contextmanager
def pgbouncer(server_url: str) -> Iterator[str]:
    """Yield the URL of a PgBouncer before the server that `server_url` names; any of its databases may stand in it.

    Raises PgBouncerMissing. What the server's log-in needs (user, password) is PgBouncer's own: the yielded URL has
    neither a password nor parameters.
    """
    program = find_pgbouncer()
    account = unprivileged_account()
    for _ in range(_ATTEMPTS):
        port, room = free_port(), new_room("pgbouncer-")
        configuration = room / "pgbouncer.ini"
        configuration.touch(mode=0o600)  # it may hold the server's password
        configuration.write_text(_configuration(server_url, port), "utf-8")
        server = Server(_LIFE, [program], room, account)
        log = server.failure()
        if log is None:
            break
    else:
        raise PgBouncerMissing(f"{program} does not start ({log})")
    given = conninfo_to_dict(server_url)
    try:
        yield f"postgresql://{quote(str(given.get('user', 'postgres')))}@127.0.0.1:{port}/{given.get('dbname', '')}"
    finally:
        server.stop()


def find_pgbouncer() -> str:
    """Return the program's path. Raises PgBouncerMissing."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), _OFF_THE_PATH))
    if program := shutil.which("pgbouncer", path=path):
        return program
    raise PgBouncerMissing("the program pgbouncer is neither on the PATH nor in /usr/sbin")


def _configuration(server_url: str, port: int) -> str:
    given = conninfo_to_dict(server_url)
    named = {name: given[name] for name in ("host", "port", "user", "password") if given.get(name)}
    server = " ".join("{}='{}'".format(name, str(value).replace("'", "''")) for name, value in named.items())
    sslmode = given.get("sslmode", "prefer")
    return _CONFIGURATION.format(server=server, port=port, pool_size=POOL_SIZE, sslmode=sslmode)
