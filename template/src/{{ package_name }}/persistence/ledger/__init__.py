"""The ledger: which runs were accepted, what they are doing, what they wait for, and who may write for them."""

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
    "Entry",
    "Ledger",
    "Mode",
    "Question",
    "QuestionState",
    "Run",
    "Status",
    "Store",
    "Transaction",
    "open_ledger",
]
