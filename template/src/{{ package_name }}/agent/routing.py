"""The edges: which node comes next, and the caps that make every run end."""

from typing import Literal

from langgraph.types import Send

from .state import SearchTask, State

MAX_REVISIONS = 3  # rewritten drafts a turn; kept in the state, so a resumed run gets no fresh budget
MAX_SEARCHES = 2  # rounds of search a turn

# The longest legal path in supersteps: summarize; plan, search and collect a round; synthesize, review and approve a
# draft; the end; an error handler. LangGraph's own default is 10,007, which a loop would really use.
_DRAFTS = MAX_SEARCHES + MAX_REVISIONS
RECURSION_LIMIT = 1 + 3 * MAX_SEARCHES + 3 * _DRAFTS + 1 + 1


def fan_out(state: State) -> list[Send]:
    """Search for every sub-question at the same time."""
    return [Send("search", SearchTask(query=query, docs=state["docs"])) for query in state["queries"]]


def after_search(state: State) -> Literal["synthesize", "plan", "not_found", "__end__"]:
    """Write from what was found; look once more with other words; or say that the documents have no answer."""
    if state.get("failure"):  # a branch failed for good
        return "__end__"
    if state.get("passages"):
        return "synthesize"
    return "plan" if state["searches"] < MAX_SEARCHES else "not_found"


def after_review(state: State) -> Literal["approve", "deliver", "synthesize", "plan", "not_found", "give_up"]:
    """Follow the reviewer's verdict as far as the caps allow."""
    match state["verdict"]:
        case "approved":
            return "approve" if state.get("approval") else "deliver"
        case "search":
            return "plan" if state["searches"] < MAX_SEARCHES else "not_found"
        case _:
            return "synthesize" if state["revisions"] < MAX_REVISIONS else "give_up"


def after_approval(state: State) -> Literal["deliver", "synthesize", "give_up", "__end__"]:
    """Follow the person's decision; a wish for changes counts as a revision."""
    match state["verdict"]:
        case "approved":
            return "deliver"
        case "rejected":
            return "__end__"
        case _:
            return "synthesize" if state["revisions"] < MAX_REVISIONS else "give_up"
