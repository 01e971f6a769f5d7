"""The ledger: which runs were accepted, what they are doing, what they wait for, and who may write for them."""

from .copying import Entries, drop_reservation, put_entries, take_entries, threads_in_ledger
from .ledger import Ledger
from .moving import SYSTEM, Also
from .opening import open_ledger
from .records import ACTIVE, MOVES, Asked, Entry, Mode, Question, QuestionState, Run, Status
from .store import Store, Transaction

__all__ = [
    "ACTIVE",
    "MOVES",
    "SYSTEM",
    "Also",
    "Asked",
    "Entries",
    "Entry",
    "Ledger",
    "Mode",
    "Question",
    "QuestionState",
    "Run",
    "Status",
    "Store",
    "Transaction",
    "drop_reservation",
    "open_ledger",
    "put_entries",
    "take_entries",
    "threads_in_ledger",
]
