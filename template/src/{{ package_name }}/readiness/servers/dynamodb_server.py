"""DynamoDB and S3 as moto plays them, for tests: `with dynamodb_server() as endpoint`. It ends with its process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from ...errors import ProjectError
from .lifeline import Account, Server, free_port, new_room

_ATTEMPTS = 3  # another process may take the free port before the server does

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",  # nobody waits for a role
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
"""What a process needs that calls the server: credentials, which it does not look at."""

_PROGRAM = Path(__file__).with_name("dynamodb_moto.py")

# $1: Python, $2: the port, $3: the program. It is ready when it takes connections, which it logs. `away` freezes it,
# `back` lets it go on.
_LIFE = """
trap '' HUP INT PIPE TERM
"$1" "$3" 127.0.0.1 "$2" >log 2>&1 &
server=$!
tries=0
until grep -q 'Running on' log 2>/dev/null || [ $tries -gt 1500 ] || ! kill -0 $server 2>/dev/null
do sleep 0.02; tries=$((tries + 1)); done
if grep -q 'Running on' log 2>/dev/null; then
    echo ready
    while read -r order; do
        case $order in
            away) kill -STOP $server; echo away ;;
            back) kill -CONT $server; echo back ;;
            *) break ;;
        esac
    done
else cat log >&2; fi
kill -KILL $server 2>/dev/null
wait $server
rm -rf "$PWD"
"""


class MotoMissing(ProjectError):
    """It is not installed, or does not start."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"No DynamoDB for the tests: {reason}. Type: uv add --dev 'moto[server]'")


@contextmanager
def dynamodb_server() -> Iterator[str]:
    """Yield the endpoint of a server that lives as long as the context, such as 127.0.0.1:5000."""
    with held_server() as (endpoint, _):
        yield endpoint


@contextmanager
def held_server() -> Iterator[tuple[str, Server]]:
    """Yield the endpoint of a server, and what holds it, which takes the orders `away` and `back`."""
    if not find_spec("moto"):
        raise MotoMissing("moto is not installed here")
    for _ in range(_ATTEMPTS):
        port = free_port()
        arguments = [sys.executable, str(port), str(_PROGRAM)]
        server = Server(_LIFE, arguments, new_room("moto-"), Account(None, None, None))
        log = server.failure()
        if log is None:
            break
    else:
        raise MotoMissing(f"moto does not start ({log})")
    try:
        yield f"127.0.0.1:{port}", server
    finally:
        server.stop()
