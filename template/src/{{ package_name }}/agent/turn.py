"""How a turn of conversation begins."""

from typing import Any

from langchain_core.messages import HumanMessage
from langgraph.types import Overwrite

from ..errors import ProjectError
from .documents import open_index
from .model import load_model
from .settings import AgentSettings

LONGEST_QUESTION = 4000  # characters; a longer text is a document

checkpoint_types: tuple[type, ...] = ()
"""Classes of your own that an interrupt, a Send or an untyped part of the state may hold: others cannot be stored."""


class BadQuestion(ProjectError):
    """The question cannot be asked."""


def new_input(question: str, *, approval: bool = False) -> dict[str, Any]:
    """Return the graph's input for one question: everything that belongs to the turn is set anew.

    Any: the values of a state, and Overwrite where a reducer would keep the last turn's. Raises BadQuestion.
    """
    question = question.replace("\0", "").strip()
    if not question:
        raise BadQuestion('the question is empty: write it in quotes, as in run "What is ...?"')
    if len(question) > LONGEST_QUESTION:
        too_long = f"the question has {len(question):,} characters, {LONGEST_QUESTION:,} at most"
        raise BadQuestion(f"{too_long}: put the text in a document")
    return {
        "messages": [HumanMessage(question)],
        "question": question,
        "approval": approval,
        "verdict": "",
        "revisions": 0,
        "searches": 0,
        "passages": Overwrite([]),
        "docs": "",  # plan sets it
        "queries": [],
        "feedback": "",
        "answer": "",
        "citations": [],
        "failure": Overwrite(""),
    }


def check(settings: AgentSettings) -> None:
    """Raise before a run begins what would make it fail: BadModel, NoDocuments, or an index that cannot be written."""
    load_model(settings.model)
    open_index(settings.docs, settings.data_dir)
