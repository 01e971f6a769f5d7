"""A TCP proxy that makes the way to the server longer, as a network does: `with delaying_proxy(port, 4.0) as proxy`.

It runs as a process of its own, so it takes nothing from the event loop under measurement. Each chunk is forwarded at
the moment it came in plus half a round trip, on threads that sleep until then: the chunks behind it are read meanwhile,
so the bandwidth is not throttled, and a thread's sleep is exact to some 0.1 ms (an event loop's timer only to 1 ms).

The proxy counts round trips: how often a client sent something after the server had spoken, or for the first time.
Who connects to the port `counter` is sent the count so far.
"""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import NamedTuple

_CHUNK = 1 << 18  # bytes
_STOP_TIMEOUT = 10.0  # seconds


class Proxy(NamedTuple):
    """The ports of a running proxy."""

    port: int
    counter: int

    def round_trips(self) -> int:
        """Return the number of round trips so far, of all connections."""
        with socket.create_connection(("127.0.0.1", self.counter)) as connection:
            return int(connection.makefile().read())


@contextmanager
def delaying_proxy(server_port: int, round_trip: float) -> Iterator[Proxy]:
    """Yield a proxy to a port of this machine that adds `round_trip` milliseconds; it ends with the context."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(server_port), str(round_trip)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        yield Proxy(*map(int, process.stdout.readline().split()))
    finally:
        process.communicate(timeout=_STOP_TIMEOUT)  # it ends when its input does, as it also does when we are killed


class _Connection:
    """A client's connection and its twin to the server. Only the two reading threads touch `_server_spoke`."""

    def __init__(self, client: socket.socket, server: socket.socket, delay: float) -> None:
        self.round_trips = 0
        self._server_spoke = True
        self._delay = delay
        for source, target, counts in ((client, server, True), (server, client, False)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            chunks: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
            threading.Thread(target=self._read, args=(source, chunks, counts), daemon=True).start()
            threading.Thread(target=_forward, args=(target, chunks), daemon=True).start()

    def _read(self, source: socket.socket, chunks: "SimpleQueue[tuple[float, bytes]]", counts: bool) -> None:
        data = b"."
        while data:
            try:
                data = source.recv(_CHUNK)
            except OSError:  # reset by its peer: the same end
                data = b""
            chunks.put((time.monotonic() + self._delay, data))
            if counts and data and self._server_spoke:
                self.round_trips += 1
            self._server_spoke = not counts


def _forward(target: socket.socket, chunks: "SimpleQueue[tuple[float, bytes]]") -> None:
    with suppress(OSError):  # the target has gone; its own reading thread tells the other side
        while True:
            due, data = chunks.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                target.shutdown(socket.SHUT_WR)
                return
            target.sendall(data)


def _serve(server_port: int, round_trip: float) -> None:
    connections: list[_Connection] = []
    listener, counter = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", server_port))
            connections.append(_Connection(client, server, round_trip / 2 / 1000))

    def count() -> None:
        while True:
            with counter.accept()[0] as asker:
                asker.sendall(str(sum(connection.round_trips for connection in connections)).encode())

    for work in (accept, count):
        threading.Thread(target=work, daemon=True).start()
    print(listener.getsockname()[1], counter.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), float(sys.argv[2]))
