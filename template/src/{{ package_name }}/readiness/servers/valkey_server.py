"""A real Valkey or Redis for tests, without Docker: `with valkey_server() as url`. It ends with the test process."""

from collections.abc import Iterator
from contextlib import contextmanager

from .lifeline import Account, Server, free_port, new_room
from .valkey_programs import ValkeyMissing, find_program

_ATTEMPTS = 3  # another process may take the free port before the server does
DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec")

# $1: the program, $2: the port, then its options. `away` kills it, `back` starts it again.
_LIFE = """
trap '' HUP INT PIPE TERM
program=$1 port=$2; shift 2
ready() { grep -q 'Ready to accept connections' log 2>/dev/null; }
start() {
    : >log
    "$program" --bind 127.0.0.1 --port "$port" --dir "$PWD" --save '' --logfile log "$@" >out 2>&1 &
    server=$! tries=0
    until ready || [ $tries -gt 500 ] || ! kill -0 $server 2>/dev/null; do sleep 0.02; tries=$((tries + 1)); done
    ready
}
end() { kill -KILL $server; wait $server; } 2>/dev/null
if start "$@"; then
    echo ready
    while read -r order; do
        case $order in
            away) end; echo away ;;
            back) start "$@"; echo back ;;
            *) break ;;
        esac
    done
else cat out log >&2; fi
end
rm -rf "$PWD"
"""


@contextmanager
def valkey_server(*options: str) -> Iterator[str]:
    """Yield the URL of a server that lives as long as the context; `options` are instead of DURABLE."""
    with held_server(*options) as (url, _):
        yield url


@contextmanager
def held_server(*options: str) -> Iterator[tuple[str, Server]]:
    """Yield the URL of a server, and what holds it, which takes the orders `away` and `back`."""
    program = find_program()
    for _ in range(_ATTEMPTS):
        port, room = free_port(), new_room("valkey-")
        server = Server(_LIFE, [program, str(port), *(options or DURABLE)], room, Account(None, None, None))
        log = server.failure()
        if log is None:
            break
    else:
        raise ValkeyMissing(f"{program} does not start ({log})")
    try:
        yield f"redis://127.0.0.1:{port}/0", server
    finally:
        server.stop()
