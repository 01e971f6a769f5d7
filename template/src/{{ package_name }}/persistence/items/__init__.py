"""Threads and runs in a store of items: what stores without SQL have in common.

`items` says what such a store has to offer, in few words, and a backend is a module that offers it. Above it `saver`
keeps checkpoints, `store` the ledger, and `retention` forgets. `keys` says where everything is.
"""

from .items import Change, Expected, Items, Key, Span
from .saver import ItemSaver

__all__ = ["Change", "Expected", "ItemSaver", "Items", "Key", "Span"]
