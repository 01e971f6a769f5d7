"""The state: lean, because every superstep stores it. Documents stay in the index; the state holds their ids."""

from typing import Annotated, Literal, TypedDict

from langchain_core.messages import AnyMessage
from langgraph.graph.message import add_messages

from .reducers import join_failures, union

Verdict = Literal["", "approved", "revise", "search", "not_found", "rejected", "escalate"]


class State(TypedDict, total=False):
    """What a thread remembers. Nodes return the keys that they change, and only those."""

    # Routing: what the edges read.
    verdict: Verdict
    revisions: int  # drafts rewritten in this turn, at most routing.MAX_REVISIONS
    searches: int  # rounds of search in this turn, at most routing.MAX_SEARCHES
    approval: bool  # ask a person before the answer is delivered

    # Accumulated: written by several nodes or branches, joined by a reducer.
    messages: Annotated[list[AnyMessage], add_messages]
    passages: Annotated[list[str], union]  # ids of the passages found in this turn
    failure: Annotated[str, join_failures]  # why the run ended without an answer; empty when it did not

    # References: what this turn works on.
    question: str
    docs: str  # the folder of documents, as it was named when the turn began
    queries: list[str]  # the sub-questions under search
    feedback: str  # what the reviewer or the person wants changed

    # Output.
    answer: str
    citations: list[str]  # ids of the passages that the answer cites


class SearchTask(TypedDict):
    """What one parallel branch of the search gets."""

    query: str
    docs: str
