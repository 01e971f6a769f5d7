"""The scenarios: small conversations that end offline. The readiness standard kills and resumes each of them."""

from functools import cache
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from ..scenario import Scenario
from .model import BadModel
from .outbox import notices, published
from .prompts import NO_ANSWER
from .scripted import Reply, ScriptedModel
from .turn import new_input

EXAMPLES = Path(__file__).parent / "examples"

_SCRIPTS: dict[str, tuple[Reply, ...]] = {
    "straight-pass": (),
    "revise-once": (Reply("review", "REVISE: say it in one sentence", when=r"<revision>\n0\n"),),
    "never-satisfied": (Reply("review", "REVISE: still not good enough"),),
    "nothing-found": (),
    "search-again": (Reply("review", "SEARCH: fees for a late book", when=r"\A(?s:(?!.*late book))"),),
    "approval-given": (),
    "approval-refused": (),
    "approval-with-changes": (),
    "long-conversation": (),
}


def script(name: str) -> ScriptedModel:
    """Return the model that plays the scenario called `name`."""
    if name not in _SCRIPTS:
        raise BadModel(f"no scenario is called {name!r}: MODEL=scripted: takes one of {', '.join(_SCRIPTS)}")
    return ScriptedModel(replies=_SCRIPTS[name])


def scenarios() -> list[Scenario]:
    """Return the agent's scenarios. Add one for every path through your graph."""
    return [
        _scenario("straight-pass", "How many books may a member borrow?", verdict="approved", revisions=0),
        _scenario("revise-once", "What does printing cost?", verdict="approved", revisions=1),
        _scenario("never-satisfied", "When does the reading room open?", verdict="escalate", revisions=3),
        _scenario("nothing-found", "Who painted the ceiling?", verdict="not_found", answer=NO_ANSWER),
        _scenario("search-again", "What is said about Saturdays?", verdict="approved", searches=2),
        _scenario(
            "approval-given", "How long is the loan period?", approval=True, answers=("yes",), verdict="approved"
        ),
        _scenario(
            "approval-refused", "What does a late book cost?", approval=True, answers=("no",), verdict="rejected"
        ),
        _scenario(
            "approval-with-changes",
            "What do printers accept?",
            approval=True,
            answers=("Name the formats.", "yes"),
            verdict="approved",
            revisions=1,
        ),
        _scenario("long-conversation", "Can a reserved book be renewed?", earlier=_conversation(), verdict="approved"),
    ]


def _scenario(
    name: str,
    question: str,
    *,
    approval: bool = False,
    answers: tuple[str, ...] = (),
    earlier: tuple[AnyMessage, ...] = (),
    **expected: Any,  # Any: values of the state
) -> Scenario:
    settings = {"docs": EXAMPLES, "model": f"scripted:{name}"}
    first = new_input(question, approval=approval)
    return Scenario(
        name=name,
        input={**first, "messages": [*earlier, *first["messages"]]},
        settings=settings,
        answers=answers,
        expected=expected,
        effects=lambda used: [*notices(used.data_dir), *published(used.data_dir)],
    )


@cache
def _conversation() -> tuple[AnyMessage, ...]:
    """Return a conversation of some 3,500 tokens in which a tool was called, so that `summarize` has to cut it."""
    turns: list[AnyMessage] = []
    for number in range(1, 26):
        call = {"name": "catalogue", "args": {"shelf": number}, "id": f"call-{number}", "type": "tool_call"}
        turns += [
            HumanMessage(f"What stands on shelf {number}? " + "I look for travel writing. " * 5, id=f"human-{number}"),
            AIMessage("", tool_calls=[call], id=f"call-message-{number}"),
            ToolMessage(
                f"Shelf {number} holds {number * 3} volumes of travel writing.",
                tool_call_id=f"call-{number}",
                id=f"tool-{number}",
            ),
            AIMessage(
                f"Shelf {number} holds {number * 3} volumes. " + "They may be borrowed. " * 5, id=f"answer-{number}"
            ),
        ]
    return tuple(turns)
