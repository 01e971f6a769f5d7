"""Servers that would lose threads: check R01."""

from functools import partial

from .valkey_server import DURABLE, valkey_server

CARELESS = {
    "a server without an append-only file": partial(valkey_server, "--appendonly", "no"),
    "a server that drops keys when its memory is full": partial(
        valkey_server, *DURABLE, "--maxmemory-policy", "allkeys-lru"
    ),
}
"""What each does, and how it is started."""
